import { formatUsd, micros, parseMicros } from '../../platform/common/money.js';
import { escapeHtml } from '../../platform/http/pages/page.js';
import type { EmailKind } from './alert-email.js';

export type EmailFacts = {
  readonly kind: EmailKind;
  readonly accountId: string;
  /** The event's data. Texts in it are shown as they are, so they are bounded and escaped here. */
  readonly data: Readonly<Record<string, unknown>>;
  readonly at: Date;
  /** Confirms the address, for the question; ends the mails, for everything else. */
  readonly link: string;
};

export type EmailMessage = { readonly subject: string; readonly text: string; readonly html: string };

/** A paragraph, or a link under its name. */
type Part = string | { readonly label: string; readonly url: string };

const TEXT_LENGTH_MAX = 500;
const MICROS_PER_CENT = 10_000n;

/** The same words as text and as HTML. Subjects are ours alone: nothing that anybody typed stands in a header. */
export function renderEmail(facts: EmailFacts): EmailMessage {
  const { subject, parts } = CONTENTS[facts.kind](facts);
  const all = [...parts, ...footerOf(facts)];
  const html = all.map(toHtml).join('\n');
  return {
    subject,
    text: `${all.map(toText).join('\n\n')}\n`,
    html:
      `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(subject)}</title></head>\n` +
      `<body style="font-family: sans-serif; line-height: 1.5; max-width: 36em">\n${html}\n</body></html>\n`,
  };
}

type Content = { readonly subject: string; readonly parts: readonly Part[] };

const CONTENTS: Readonly<Record<EmailKind, (facts: EmailFacts) => Content>> = {
  confirmation: ({ accountId, link }) => ({
    subject: 'Do you want alerts about your credit?',
    parts: [
      `Somebody with a key of account ${accountId} asked for alerts about its credit to be sent to this address.`,
      { label: 'Yes, send them here', url: link },
      'The link works for three days. If you know nothing of this, do nothing: no alerts will come.',
    ],
  }),
  'wallet.low': ({ data }) => ({
    subject: `Your credit is low: ${usdOf(data, 'posted_micros')} left`,
    parts: [
      `Your account has ${usdOf(data, 'posted_micros')} of credit left, of which ${usdOf(data, 'available_micros')} is ` +
        `available now. You asked to be told below ${usdOf(data, 'low_balance_micros')}.`,
      'Top up to keep your calls going. When the credit is used up, they are refused with a 402 and cost nothing.',
    ],
  }),
  'wallet.depleted': ({ data }) => ({
    subject: 'Your credit is used up',
    parts: [
      `Your account has ${usdOf(data, 'posted_micros')} of credit left. Calls that cost more are refused with a 402, and ` +
        'cost nothing, until you top up.',
    ],
  }),
  address_removed: ({ accountId, data }) => ({
    subject: 'Alerts are no longer sent to you',
    parts: [
      `Alerts about the credit of account ${accountId} are no longer sent to this address: it was removed with the API ` +
        `key ${keyOf(data, 'removed_by')}.`,
      'If you know nothing of this, have that key revoked: somebody else may have it.',
    ],
  }),
  'auto_top_up.updated': ({ data }) => ({
    subject: 'Your card may be charged automatically',
    parts: [
      `Automatic top-up was switched on, or may charge more than before, with the API key ${keyOf(data, 'changed_by')}.`,
      `The card that ends in ${wordOf(data, 'card_last4')} is charged ${centsOf(data, 'charge_cents')} whenever the credit falls ` +
        `below ${usdOf(data, 'threshold_micros')}: up to ${centsOf(data, 'daily_max_charge_cents')} a day and ` +
        `${centsOf(data, 'monthly_max_charge_cents')} a month.`,
      'If you know nothing of this, switch automatic top-up off and have that key revoked: somebody else may have it.',
    ],
  }),
  'auto_top_up.failed': ({ data }) => ({
    subject: 'Your automatic top-up failed',
    parts: [
      'Your card could not be charged for an automatic top-up. Nothing was credited.',
      ...linkOf(data, 'action_url', 'Pay it yourself'),
      retryOf(data),
    ],
  }),
  'auto_top_up.disabled': ({ data }) => ({
    subject: 'Your automatic top-up is off',
    parts: [
      ...textOf(data, 'message'),
      'Your card is charged no more until you switch automatic top-up on again. What is in the wallet stays there.',
    ],
  }),
};

function footerOf({ kind, accountId, at, link }: EmailFacts): readonly Part[] {
  const when = `${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  if (kind === 'confirmation') return [`Sent once, on ${when}, because of that request.`];
  if (kind === 'address_removed') return [`Sent once, on ${when}. You had asked for these alerts.`];
  return [
    `You get this because alerts of account ${accountId} go to this address. It tells of ${when}.`,
    { label: 'Send me no more of these', url: link },
  ];
}

function usdOf(data: EmailFacts['data'], member: string): string {
  const value = data[member];
  const amount = typeof value === 'string' ? parseMicros(value) : null;
  return amount === null ? 'an unknown amount' : formatUsd(amount);
}

/** Of an amount of whole cents. */
function centsOf(data: EmailFacts['data'], member: string): string {
  const value = data[member];
  return typeof value === 'number' && Number.isSafeInteger(value)
    ? formatUsd(micros(BigInt(value) * MICROS_PER_CENT))
    : 'an unknown amount';
}

/** The id of a key, from the name of an actor. */
function keyOf(data: EmailFacts['data'], member: string): string {
  return /^[a-z]+_key:(key_\w{1,40})$/.exec(String(data[member]))?.[1] ?? 'of an operator';
}

function wordOf(data: EmailFacts['data'], member: string): string {
  const value = String(data[member]);
  return /^\w{1,20}$/.test(value) ? value : '????';
}

function textOf(data: EmailFacts['data'], member: string): readonly Part[] {
  const value = data[member];
  return typeof value === 'string' && value !== '' ? [value.slice(0, TEXT_LENGTH_MAX)] : [];
}

function linkOf(data: EmailFacts['data'], member: string, label: string): readonly Part[] {
  const value = data[member];
  const isLink = typeof value === 'string' && /^https?:\/\/[\x21-\x7e]+$/.test(value) && URL.canParse(value);
  return isLink ? [{ label, url: value }] : [];
}

function retryOf(data: EmailFacts['data']): string {
  const seconds = data['retry_at'];
  if (typeof seconds !== 'number') return 'The card is not charged again by itself.';
  return `The card is charged again after ${new Date(seconds * 1_000).toISOString().slice(0, 16).replace('T', ' ')} UTC.`;
}

function toText(part: Part): string {
  return typeof part === 'string' ? part : `${part.label}:\n${part.url}`;
}

function toHtml(part: Part): string {
  return typeof part === 'string'
    ? `<p>${escapeHtml(part)}</p>`
    : `<p><a href="${escapeHtml(part.url)}">${escapeHtml(part.label)}</a></p>`;
}
