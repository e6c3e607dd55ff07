/**
 * The events that an endpoint can subscribe to. A name is never changed, because receivers branch on it, and is added only
 * when something publishes it or is about to.
 */
export const WEBHOOK_EVENTS = {
  'top_up.succeeded': 'A top-up was paid and its credit is in the wallet.',
  'top_up.failed': 'The payment of a top-up failed; nothing was credited.',
  'auto_top_up.updated': 'Automatic top-up was switched on, or may charge more, or more often, than before.',
  'auto_top_up.failed': 'An automatic top-up could not be charged.',
  'auto_top_up.disabled': 'Automatic top-up was switched off, by the account or after failures.',
  'refund.created': "A refund was asked for, here or in Stripe's dashboard.",
  'refund.pending': 'Stripe has accepted a refund; some payment methods take days.',
  'refund.succeeded': 'A refund was paid out.',
  'refund.failed': 'A refund could not be paid out; its credit is in the wallet again.',
  'refund.refused': 'The wallet no longer had the credit of a refund; nothing was refunded.',
  'refund.needs_review':
    "A refund from Stripe's dashboard returns more than the wallet has; support looks at it.",
  'dispute.created': 'A cardholder disputes a payment, or their bank asks about one.',
  'dispute.funds_withdrawn': 'The bank took the disputed money, and its credit left the wallet.',
  'dispute.funds_reinstated': 'The bank gave the disputed money back, and its credit is in the wallet again.',
  'dispute.updated': 'The status of a dispute changed.',
  'dispute.closed': 'A dispute was decided; see its status.',
  'wallet.low': 'Posted credit fell below the threshold of the alerts.',
  'wallet.depleted': 'Posted credit is used up, or too little for a call that was refused with a 402.',
  'wallet.frozen': 'The wallet was frozen; calls are refused with a 402.',
} as const satisfies Record<string, string>;

export type WebhookEventType = keyof typeof WEBHOOK_EVENTS;

export const WEBHOOK_EVENT_TYPES = Object.keys(WEBHOOK_EVENTS) as readonly WebhookEventType[];

/** Sent to one endpoint when its owner requests it. No endpoint can subscribe to it. */
export const TEST_EVENT_TYPE = 'webhook.test';

/** The types that an event's row can have. */
export type StoredEventType = WebhookEventType | typeof TEST_EVENT_TYPE;

/** Events that are sent by e-mail as well: those that stop work unless a person acts, and those that concern their card. */
export const EMAILED_EVENTS = [
  'wallet.low',
  'wallet.depleted',
  'auto_top_up.updated',
  'auto_top_up.failed',
  'auto_top_up.disabled',
] as const satisfies readonly WebhookEventType[];

export type EmailedEvent = (typeof EMAILED_EVENTS)[number];
