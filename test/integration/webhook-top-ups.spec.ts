import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { Event } from 'coffer-sandbox/stripe/objects';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { WebhookEventsService } from '../../src/notifications/webhooks/webhook-events.service.js';
import { TopUpSettlementService } from '../../src/payments/settlement/top-up-settlement.service.js';
import { EventReceiver, isGenuine, type ReceivedEvent } from '../support/webhooks/event-receiver.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import {
  expectCreditedOnce,
  settled,
  startTopUp,
  statusOf,
  type OpenTopUp,
} from '../fixtures/top-up-books.js';
import { createEndpoint, deliveriesTo, type TestEndpoint } from '../support/webhooks/webhook-deliveries.js';

let app: TestApp;
let control: SandboxStripeControl;
let receiver: EventReceiver;

beforeAll(async () => {
  app = await startTestApp({ stripe: true, settings: { webhookLoopback: true } });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
  receiver = await EventReceiver.start();
});
afterEach(() => {
  control.clearFaults();
  receiver.reset();
  jest.restoreAllMocks();
});
afterAll(async () => {
  await receiver.close();
  await app.close();
});

async function watchedTopUp(): Promise<{ topUp: OpenTopUp; endpoint: TestEndpoint }> {
  const topUp = await startTopUp(app);
  return { topUp, endpoint: await createEndpoint(topUp.customer, receiver.url) };
}

function completedEventOf(topUp: OpenTopUp): Event {
  const found = control
    .events('checkout.session.completed')
    .find(({ data }) => data.object['id'] === topUp.sessionId);
  if (found === undefined) throw new Error('the session has no event');
  return found;
}

async function whenDelivered(endpoint: TestEndpoint): Promise<ReceivedEvent[]> {
  await eventually('every delivery is done', async () => {
    const rows = await deliveriesTo(app, endpoint);
    return rows.length > 0 && rows.every(({ status }) => status !== 'pending');
  });
  return [...receiver.received];
}

describe('a top-up', () => {
  it('that is paid is published once, signed, as the API shows it, however often Stripe says so', async () => {
    const { topUp, endpoint } = await watchedTopUp();
    control.setWebhookFaults({ copies: 5 });
    await control.pay(topUp.sessionId);
    await settled(app);
    for (let count = 0; count < 3; count += 1)
      await app.app.get(TopUpSettlementService).settle(topUp.sessionId);
    const [received, ...others] = await whenDelivered(endpoint);
    if (received === undefined) throw new Error('nothing came');
    expect(others).toEqual([]);
    expect(isGenuine(received, endpoint.secret)).toBe(true);
    const shown = (await topUp.customer.client.get(`/v1/top_ups/${topUp.id}`)).expect(200).body;
    expect(JSON.parse(received.body)).toEqual({
      type: 'top_up.succeeded',
      timestamp: expect.any(String),
      data: shown,
    });
    expect(shown).toMatchObject({ id: topUp.id, status: 'paid', credit_micros: '10000000' });
    await expectCreditedOnce(app, topUp);
  });

  it('that is settled by several at once is published once', async () => {
    const { topUp, endpoint } = await watchedTopUp();
    control.setWebhookFaults({ loseEvents: true });
    await control.pay(topUp.sessionId);
    const settlement = app.app.get(TopUpSettlementService);
    await Promise.all(Array.from({ length: 10 }, () => settlement.settle(topUp.sessionId)));
    expect(await whenDelivered(endpoint)).toHaveLength(1);
    await expectCreditedOnce(app, topUp);
  });

  it('is marked as paid and published in one commit: cut off between the two, neither happened, and the next run does both', async () => {
    const { topUp, endpoint } = await watchedTopUp();
    control.setWebhookFaults({ loseEvents: true });
    await control.pay(topUp.sessionId);
    const events = app.app.get(WebhookEventsService, { strict: false });
    const publish = events.publish.bind(events);
    jest.spyOn(events, 'publish').mockImplementationOnce(async (tx, event) => {
      await publish(tx, event);
      throw new Error('killed here');
    });
    const settlement = app.app.get(TopUpSettlementService);
    await expect(settlement.settle(topUp.sessionId)).rejects.toThrow('killed here');
    expect(await statusOf(app, topUp)).not.toBe('paid');
    expect(await deliveriesTo(app, endpoint)).toEqual([]);
    await settlement.settle(topUp.sessionId);
    expect(await whenDelivered(endpoint)).toHaveLength(1);
    await expectCreditedOnce(app, topUp);
  });

  it('whose payment failed is published as failed, and as succeeded should the money come after all', async () => {
    const { topUp, endpoint } = await watchedTopUp();
    control.setWebhookFaults({ loseEvents: true });
    await control.pay(topUp.sessionId);
    await control.overrideCheckoutSession(topUp.sessionId, { payment_status: 'unpaid' });
    const intent = String(completedEventOf(topUp).data.object['payment_intent']);
    await control.overridePaymentIntent(intent, { status: 'requires_payment_method' });
    const settlement = app.app.get(TopUpSettlementService);
    await settlement.settle(topUp.sessionId);
    await settlement.settle(topUp.sessionId);
    const [failed, ...others] = await whenDelivered(endpoint);
    expect(others).toEqual([]);
    expect(JSON.parse(String(failed?.body))).toMatchObject({
      type: 'top_up.failed',
      data: { id: topUp.id, status: 'failed', failure_code: 'payment_failed' },
    });
    await control.overrideCheckoutSession(topUp.sessionId, { payment_status: 'paid' });
    await settlement.settle(topUp.sessionId);
    await eventually('the second event came', () => receiver.received.length === 2);
    const types = receiver.received.map(({ body }) => (JSON.parse(body) as { type: string }).type);
    expect(types).toEqual(['top_up.failed', 'top_up.succeeded']);
    await expectCreditedOnce(app, topUp);
  });
});
