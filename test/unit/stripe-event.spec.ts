import { describe, expect, it } from '@jest/globals';
import { Stripe } from 'stripe';
import { readListedEvent, readStripeEvent } from '../../src/payments/stripe/stripe-inbox.service.js';

const SECRET = 'whsec_the_secret_of_this_test';
const NOW_MS = Date.now();
const stripe = new Stripe('sk_test_unused');

const SNAPSHOT = {
  id: 'evt_1TestOfSnapshots',
  object: 'event',
  api_version: '2026-10-28.endive',
  created: 1_795_329_561,
  data: { object: { id: 'cs_test_a1', object: 'checkout.session', livemode: false } },
  livemode: false,
  pending_webhooks: 1,
  request: { id: null, idempotency_key: null },
  type: 'checkout.session.completed',
};

const THIN = {
  id: 'evt_test_65ThinEvents',
  object: 'v2.core.event',
  type: 'v1.checkout.session.completed',
  livemode: false,
  created: '2026-11-22T12:00:00.000Z',
  context: null,
  related_object: { id: 'cs_test_a1', type: 'checkout.session', url: '/v1/checkout/sessions/cs_test_a1' },
};

function delivered(event: unknown, secondsAhead = 0) {
  const payload = JSON.stringify(event);
  const timestamp = Math.floor(NOW_MS / 1_000) + secondsAhead;
  const signature = Stripe.webhooks.generateTestHeaderString({ payload, secret: SECRET, timestamp });
  return { payload, signature };
}

function read(event: unknown, secondsAhead = 0) {
  const { payload, signature } = delivered(event, secondsAhead);
  const delivery = { rawBody: Buffer.from(payload), signature, nowMs: NOW_MS };
  return readStripeEvent(delivery, { webhookSecret: SECRET, livemode: false });
}

describe('an event of Stripe', () => {
  it('means the same in both of its shapes: a snapshot and a thin one', () => {
    const meaning = { type: 'checkout.session.completed', objectId: 'cs_test_a1', livemode: false };
    expect(read(SNAPSHOT)).toEqual({ id: SNAPSHOT.id, payload: JSON.stringify(SNAPSHOT), ...meaning });
    expect(read(THIN)).toEqual({ id: THIN.id, payload: JSON.stringify(THIN), ...meaning });
  });

  it('is read from the very bytes that Stripe’s SDK reads, in either shape', () => {
    const thin = delivered(THIN);
    const notification = stripe.parseEventNotification(thin.payload, thin.signature, SECRET);
    expect(notification).toMatchObject({ id: THIN.id, type: THIN.type, livemode: false });
    expect(read(THIN).objectId).toBe(
      (notification as unknown as { related_object: { id: string } }).related_object.id,
    );
    const snapshot = delivered(SNAPSHOT);
    const event = Stripe.webhooks.constructEvent(snapshot.payload, snapshot.signature, SECRET);
    expect(read(SNAPSHOT)).toMatchObject({ id: event.id, type: event.type });
  });

  it('is refused when it was signed for a time to come, which the SDK accepts', () => {
    const ahead = delivered(SNAPSHOT, 3_600);
    expect(Stripe.webhooks.constructEvent(ahead.payload, ahead.signature, SECRET).id).toBe(SNAPSHOT.id);
    expect(() => read(SNAPSHOT, 3_600)).toThrow('Stripe-Signature');
    expect(() => read(SNAPSHOT, 61)).toThrow('Stripe-Signature');
    expect(read(SNAPSHOT, 59).id).toBe(SNAPSHOT.id);
  });

  it.each([
    'v2.core.account[requirements].updated',
    'v2.core.account[configuration.merchant].capability_status_updated',
    'v1.a.type-of-tomorrow',
    'treasury.inbound_transfer.invented_tomorrow',
  ])('of an unknown type is accepted: %s', (type) => {
    expect(read({ ...THIN, type }).type).toBe(type.replace(/^v1\./, ''));
  });

  it('without an object that it is about names none, in either shape', () => {
    for (const event of [
      { ...THIN, related_object: null },
      { ...THIN, related_object: undefined },
      { ...SNAPSHOT, data: {} },
    ]) {
      expect(read(event).objectId).toBeNull();
    }
  });

  it('that Stripe listed needs no signature, but the right mode', () => {
    const payload = JSON.stringify(SNAPSHOT);
    expect(readListedEvent(payload, false)).toEqual(read(SNAPSHOT));
    expect(() => readListedEvent(payload, true)).toThrow('test mode');
    expect(() => readListedEvent(JSON.stringify({ ...SNAPSHOT, livemode: true }), false)).toThrow(
      'live mode',
    );
  });
});
