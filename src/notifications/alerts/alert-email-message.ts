import { formatUsd, micros, parseMicros } from '../../platform/common/money.js';
import { escapeHtml } from '../../platform/http/pages/page.js';
import type { EmailKind } from './alert-email.entity.js';

export type EmailFacts = {
  readonly kind: EmailKind;
  readonly accountId: string;
  /** The event's data. Its texts are shown to people, so they are shortened and escaped here. */
  readonly data: Readonly<Record<string, unknown>>;
  readonly at: Date;
  /** The link that confirms the address in a confirmation, and that unsubscribes it in every other mail. */
  readonly link: string;
};

export type EmailMessage = { readonly subject: string; readonly text: string; readonly html: string };

/** A paragraph, or a link with its label. */
type Part = string | { readonly label: string; readonly url: string };

const TEXT_LENGTH_MAX = 500;
const MICROS_PER_CENT = 10_000n;

/** Renders the same content as text and as HTML. No header contains user input: subjects are our own texts and amounts. */
export function renderEmail(facts: EmailFacts): EmailMessage {
  const { subject, parts } = CONTENTS[facts.kind](facts);
  const all = [...parts, ...renderFooter(facts)];
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
      `A key of account ${accountId} was used to request that alerts about its credit be sent to this address.`,
      { label: 'Yes, send them here', url: link },
      'The link works for three days. If you did not expect this mail, ignore it: no alerts will be sent.',
    ],
  }),
  'wallet.low': ({ data }) => ({
    subject: `Your credit is low: ${formatUsdMember(data, 'posted_micros')} left`,
    parts: [
      `Your account has ${formatUsdMember(data, 'posted_micros')} of credit left, of which ${formatUsdMember(data, 'available_micros')} is ` +
        `available now. You asked for an alert below ${formatUsdMember(data, 'low_balance_micros')}.`,
      'Top up to keep your calls going. When the credit is used up, they are refused with a 402 and cost nothing.',
    ],
  }),
  'wallet.depleted': ({ data }) => ({
    subject: 'Your credit is used up',
    parts: [
      `Your account has ${formatUsdMember(data, 'posted_micros')} of credit left. Calls that cost more are refused with a 402, and ` +
        'cost nothing, until you top up.',
    ],
  }),
  address_removed: ({ accountId, data }) => ({
    subject: 'Alerts are no longer sent to you',
    parts: [
      `Alerts about the credit of account ${accountId} are no longer sent to this address: it was removed with the API ` +
        `key ${formatKeyMember(data, 'removed_by')}.`,
      'If you did not expect this, have that key revoked: someone else may have it.',
    ],
  }),
  'auto_top_up.updated': ({ data }) => ({
    subject: 'Your card may be charged automatically',
    parts: [
      `Automatic top-up was switched on, or may charge more than before, with the API key ${formatKeyMember(data, 'changed_by')}.`,
      `The card that ends in ${formatWordMember(data, 'card_last4')} is charged ${formatCentsMember(data, 'charge_cents')} whenever the credit falls ` +
        `below ${formatUsdMember(data, 'threshold_micros')}: up to ${formatCentsMember(data, 'daily_max_charge_cents')} a day and ` +
        `${formatCentsMember(data, 'monthly_max_charge_cents')} a month.`,
      'If you did not expect this, switch automatic top-up off and have that key revoked: someone else may have it.',
    ],
  }),
  'auto_top_up.failed': ({ data }) => ({
    subject: 'Your automatic top-up failed',
    parts: [
      'Your card could not be charged for an automatic top-up. Nothing was charged or credited.',
      ...toLinkParts(data, 'action_url', 'Pay it yourself'),
      formatRetry(data),
    ],
  }),
  'auto_top_up.disabled': ({ data }) => ({
    subject: 'Your automatic top-up is off',
    parts: [
      ...toTextParts(data, 'message'),
      'Your card is not charged until you switch automatic top-up on again. The credit in your wallet is not affected.',
    ],
  }),
};

function renderFooter({ kind, accountId, at, link }: EmailFacts): readonly Part[] {
  const when = `${at.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
  if (kind === 'confirmation') return [`This mail is sent once, because of that request on ${when}.`];
  if (kind === 'address_removed')
    return [`This mail is sent once, on ${when}, because this address had confirmed these alerts.`];
  return [
    `You receive this alert of ${when} because alerts of account ${accountId} are sent to this address.`,
    { label: 'Stop these alerts', url: link },
  ];
}

function formatUsdMember(data: EmailFacts['data'], member: string): string {
  const value = data[member];
  const amount = typeof value === 'string' ? parseMicros(value) : null;
  return amount === null ? 'an unknown amount' : formatUsd(amount);
}

/** Formats a member that is an amount of whole cents. */
function formatCentsMember(data: EmailFacts['data'], member: string): string {
  const value = data[member];
  return typeof value === 'number' && Number.isSafeInteger(value)
    ? formatUsd(micros(BigInt(value) * MICROS_PER_CENT))
    : 'an unknown amount';
}

/** Formats the id of the key in a member that names an actor. */
function formatKeyMember(data: EmailFacts['data'], member: string): string {
  return /^[a-z]+_key:(key_\w{1,40})$/.exec(String(data[member]))?.[1] ?? 'of an operator';
}

function formatWordMember(data: EmailFacts['data'], member: string): string {
  const value = String(data[member]);
  return /^\w{1,20}$/.test(value) ? value : '????';
}

function toTextParts(data: EmailFacts['data'], member: string): readonly Part[] {
  const value = data[member];
  return typeof value === 'string' && value !== '' ? [value.slice(0, TEXT_LENGTH_MAX)] : [];
}

function toLinkParts(data: EmailFacts['data'], member: string, label: string): readonly Part[] {
  const value = data[member];
  const isLink = typeof value === 'string' && /^https?:\/\/[\x21-\x7e]+$/.test(value) && URL.canParse(value);
  return isLink ? [{ label, url: value }] : [];
}

function formatRetry(data: EmailFacts['data']): string {
  const seconds = data['retry_at'];
  if (typeof seconds !== 'number') return 'The card is not charged again automatically.';
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
