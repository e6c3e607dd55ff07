import { Stripe } from 'stripe';
import type { TestAnswer } from '../app/test-client.js';
import type { TestApp } from '../app/test-app.js';

export type DeliveryOptions = {
  readonly secret?: string;
  /** How far Stripe's clock is ahead of ours. */
  readonly secondsAhead?: number;
  /** Instead of a signature that fits. */
  readonly signature?: string | null;
  readonly contentType?: string;
};

/** Sends a webhook as Stripe would, or as somebody who is not Stripe. A body that is text goes as it is. */
export function deliver(app: TestApp, event: unknown, options: DeliveryOptions = {}): Promise<TestAnswer> {
  const body = typeof event === 'string' ? event : JSON.stringify(event, null, 2);
  const signature = options.signature === undefined ? sign(app, body, options) : options.signature;
  return app.client(null).send('POST', '/webhooks/stripe', {
    body,
    headers: {
      'content-type': options.contentType ?? 'application/json; charset=utf-8',
      ...(signature === null ? {} : { 'stripe-signature': signature }),
    },
  });
}

export function sign(app: TestApp, payload: string, options: DeliveryOptions = {}): string {
  return Stripe.webhooks.generateTestHeaderString({
    payload,
    secret: options.secret ?? app.settings.stripe?.webhookSecret ?? '',
    timestamp: Math.floor(Date.now() / 1_000) + (options.secondsAhead ?? 0),
  });
}

let eventsMade = 0;

/** A snapshot event about nothing in particular. */
export function anEvent(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  eventsMade += 1;
  return {
    id: `evt_test${process.pid}x${eventsMade}`,
    object: 'event',
    api_version: '2026-10-28.endive',
    created: Math.floor(Date.now() / 1_000),
    data: { object: { id: 'cs_test_nobody', object: 'checkout.session' } },
    livemode: false,
    pending_webhooks: 1,
    request: { id: null, idempotency_key: null },
    type: 'customer.updated',
    ...changes,
  };
}
