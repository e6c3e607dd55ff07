/**
 * What an endpoint may ask to be told, for ever: receivers branch on these names. A name is only added once
 * something here publishes it, or is about to.
 */
export const WEBHOOK_EVENTS = {
  'top_up.succeeded': 'A top-up was paid and its credit is in the wallet.',
  'top_up.failed': 'The payment of a top-up failed in the end; nothing was credited.',
  'auto_top_up.failed': 'An automatic top-up could not be charged.',
  'auto_top_up.disabled': 'Automatic top-up was switched off, by the account or after failures.',
  'refund.created': 'A refund was asked for; its credit is reserved.',
  'refund.succeeded': 'A refund was paid out and its credit taken back.',
  'refund.failed': 'A refund could not be paid out; its credit is available again.',
  'dispute.created': 'A cardholder disputes a payment; the wallet is frozen.',
  'dispute.updated': 'A dispute moved: money was withdrawn or reinstated, or its status changed.',
  'dispute.closed': 'A dispute was decided.',
  'wallet.low': 'Available credit fell below the threshold.',
  'wallet.depleted': 'Available credit is used up; calls are refused with a 402.',
  'wallet.frozen': 'The wallet was frozen; calls are refused with a 402.',
} as const satisfies Record<string, string>;

export type WebhookEventType = keyof typeof WEBHOOK_EVENTS;

export const WEBHOOK_EVENT_TYPES = Object.keys(WEBHOOK_EVENTS) as readonly WebhookEventType[];

/** Sent to one endpoint when its owner asks for it; nobody subscribes to it. */
export const TEST_EVENT_TYPE = 'webhook.test';

/** What stands in an event's row. */
export type StoredEventType = WebhookEventType | typeof TEST_EVENT_TYPE;
