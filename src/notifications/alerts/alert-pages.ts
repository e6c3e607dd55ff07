import { paragraph, type PageDocument } from '../../platform/http/pages/document.js';

type Action = 'confirm' | 'unsubscribe';

const WORDS = {
  confirm: {
    question: 'Alerts about your credit',
    text: 'Alerts of this account will be sent to your address.',
    button: 'Send them to me',
    done: 'Alerts will be sent to your address.',
  },
  unsubscribe: {
    question: 'No more alerts',
    text: 'Alerts of this account will not be sent to your address any more.',
    button: 'Send no more',
    done: 'No more alerts will be sent to your address.',
  },
} as const;

type AlertPage = Pick<PageDocument, 'path' | 'title' | 'heading' | 'lead' | 'opening'>;

/** Asks for one click. What the link carries goes on in the address of the form. */
export function questionPage(
  action: Action,
  { account, token }: { readonly account: string; readonly token: string },
): AlertPage {
  const { question, text, button } = WORDS[action];
  const target = `/alerts/${action}?${new URLSearchParams({ account, token }).toString()}`;
  return toLinkPage(question, text, [{ kind: 'button', action: target, label: button }]);
}

export function donePage(action: Action): AlertPage {
  return toLinkPage('Done', WORDS[action].done, [paragraph('You can close this page.')]);
}

export function deadLinkPage(): AlertPage {
  return toLinkPage('This link does not work', 'It is too old, or was replaced by a newer one.', []);
}

function toLinkPage(heading: string, lead: string, opening: PageDocument['opening']): AlertPage {
  return { path: '/alerts', title: heading, heading, lead, opening };
}
