/**
 * The life of a delivery: one event on its way to one endpoint.
 *
 * - `pending`: an attempt is due, now or later.
 * - `succeeded`: the receiver answered 2xx.
 * - `failed`: the attempts are used up, or the receiver is gone for good (410).
 * - `canceled`: the endpoint was disabled or deleted before an attempt succeeded.
 *
 * Only redelivery, which a person asks for, leads back to `pending`.
 */
export const WEBHOOK_DELIVERY_TRANSITIONS = {
  pending: ['pending', 'succeeded', 'failed', 'canceled'],
  succeeded: ['pending'],
  failed: ['pending'],
  canceled: ['pending'],
} as const satisfies Record<string, readonly string[]>;

export type WebhookDeliveryStatus = keyof typeof WEBHOOK_DELIVERY_TRANSITIONS;

export const WEBHOOK_DELIVERY_STATUSES = Object.keys(
  WEBHOOK_DELIVERY_TRANSITIONS,
) as readonly WebhookDeliveryStatus[];
