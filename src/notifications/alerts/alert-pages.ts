import { escapeHtml, renderPage } from '../../http/pages/page.js';
import type { Reply } from '../../http/reply.js';

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

const GONE = 410;

/** Asks for one click. What the link carries goes on in the address of the form. */
export function questionPage(
  action: Action,
  { account, token }: { readonly account: string; readonly token: string },
): string {
  const { question, text, button } = WORDS[action];
  const target = escapeHtml(`/alerts/${action}?${new URLSearchParams({ account, token }).toString()}`);
  return pageOf(
    question,
    `<p>${text}</p><form method="post" action="${target}"><button>${button}</button></form>`,
  );
}

export function answerPage(action: Action, worked: boolean, reply: Reply): string {
  if (worked) return pageOf('Done', `<p>${WORDS[action].done}</p><p>You can close this page.</p>`);
  reply.status(GONE);
  return pageOf('This link does not work', '<p>It is too old, or was replaced by a newer one.</p>');
}

function pageOf(title: string, html: string): string {
  return renderPage({ title, style: '', body: `<main><h1>${title}</h1>${html}</main>` });
}
