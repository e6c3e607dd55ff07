import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { WebhookEventsService } from '../../src/notifications/webhooks/webhook-events.service.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../../src/payments/stripe/payment-gateway.js';
import {
  PaymentRequestRefusedError,
  PaymentsUnavailableError,
} from '../../src/payments/stripe/payments.errors.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { DisputeSettlementService } from '../../src/payments/disputes/dispute-settlement.service.js';
import { RefundSweepJob } from '../../src/payments/refunds/refund-sweep.job.js';
import { TopUpSweepJob } from '../../src/payments/settlement/top-up-sweep.job.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { publishedTo, type PublishedEvent } from '../support/webhooks/published-events.js';
import { ReturnHistory } from '../support/payments/return-history.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { settled, startTopUp, type OpenTopUp } from '../fixtures/top-up-books.js';

let app: TestApp;
let control: SandboxStripeControl;
let gateway: PaymentGateway;
let events: WebhookEventsService;

beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
  gateway = app.app.get<PaymentGateway>(PAYMENT_GATEWAY);
  events = app.app.get(WebhookEventsService, { strict: false });
});
afterEach(async () => {
  app.clock.reset();
  jest.restoreAllMocks();
  control.clearFaults();
  await settled(app);
  await expectBooksToBalance(app.dataSource);
});
afterAll(() => app.close());

type Paid = { readonly topUp: OpenTopUp; readonly history: ReturnHistory };

/** $10.00 of credit for $10.50. */
async function paid(): Promise<Paid> {
  const topUp = await startTopUp(app);
  await control.pay(topUp.sessionId);
  await settled(app);
  return { topUp, history: new ReturnHistory(app, control, topUp) };
}

/** What was published after the payment itself, oldest first. */
async function eventsOf({ topUp }: Paid): Promise<PublishedEvent[]> {
  const [first, ...rest] = await publishedTo(app, topUp.customer.accountId);
  expect(first?.type).toBe('top_up.succeeded');
  // The events of the wallet have a test of their own, and a job publishes them at any moment.
  return rest.filter(({ type }) => !type.startsWith('wallet.'));
}

async function notificationsOf(story: Paid): Promise<string[]> {
  return (await eventsOf(story)).map(({ type }) => type);
}

async function refunds({ topUp }: Paid): Promise<Record<string, unknown>[]> {
  const { body } = (await topUp.customer.client.get(`/v1/top_ups/${topUp.id}/refunds`)).expect(200);
  return body.data as Record<string, unknown>[];
}

/** As somebody does it in Stripe's dashboard. */
async function refundElsewhere(topUp: OpenTopUp, amountCents: number): Promise<void> {
  const [row] = await app.dataSource.query<{ id: string }[]>(
    'SELECT payment_intent_id AS id FROM top_ups WHERE id = $1',
    [topUp.id],
  );
  const answer = await fetch(`${app.stripe?.baseUrl}/v1/refunds`, {
    method: 'POST',
    headers: { authorization: `Bearer ${app.settings.stripe?.secretKey ?? ''}` },
    body: new URLSearchParams({ payment_intent: row?.id ?? '', amount: `${amountCents}` }),
  });
  expect(answer.status).toBe(200);
}

async function sweepRefunds(): Promise<void> {
  app.clock.aheadMs = 600_000;
  await app.app.get(RefundSweepJob).run();
}

describe('a refund', () => {
  it('is published at each of its statuses, once, as the API shows it, however often Stripe repeats itself', async () => {
    const story = await paid();
    control.setWebhookFaults({ copies: 4 });
    await story.history.take(['refund', 500]);
    const [shown] = await refunds(story);
    expect(await notificationsOf(story)).toEqual(['refund.created', 'refund.succeeded']);
    const published = await eventsOf(story);
    expect(published[0]?.data).toMatchObject({ object: 'refund', id: shown?.['id'], status: 'created' });
    expect(published[1]?.data).toEqual(shown);
    await story.history.take(['refund_fails']);
    expect(await notificationsOf(story)).toEqual(['refund.created', 'refund.succeeded', 'refund.failed']);
    expect((await eventsOf(story)).at(-1)?.data).toEqual((await refunds(story))[0]);
  });

  it('that was made by twenty copies of one request is published once', async () => {
    const { topUp, history } = await paid();
    const copies = Array.from({ length: 20 }, () =>
      topUp.customer.client.post(
        `/v1/top_ups/${topUp.id}/refund`,
        { credit_cents: 100 },
        { 'idempotency-key': 'k' },
      ),
    );
    for (const answer of await Promise.all(copies)) answer.expect(200);
    await settled(app);
    expect(await notificationsOf({ topUp, history })).toEqual(['refund.created', 'refund.succeeded']);
  });

  it('and its event are one commit: cut off between the two, neither happened, and the job does both', async () => {
    const story = await paid();
    control.setWebhookFaults({ loseEvents: true });
    const publish = events.publish.bind(events);
    jest.spyOn(events, 'publish').mockImplementation(async (tx, event) => {
      await publish(tx, event);
      if (event.type === 'refund.succeeded') throw new Error('killed here');
    });
    const { client } = story.topUp.customer;
    (await client.post(`/v1/top_ups/${story.topUp.id}/refund`, { credit_cents: 500 })).expect(500);
    jest.restoreAllMocks();
    expect((await refunds(story))[0]?.['status']).toBe('created');
    expect(await notificationsOf(story)).toEqual(['refund.created']);
    await sweepRefunds();
    expect((await refunds(story))[0]?.['status']).toBe('succeeded');
    expect(await notificationsOf(story)).toEqual(['refund.created', 'refund.succeeded']);
  });

  it('that Stripe refuses is published as failed, with why', async () => {
    const story = await paid();
    const refusal = new PaymentRequestRefusedError('charge_disputed', null, new Error('no'));
    jest.spyOn(gateway, 'createRefund').mockRejectedValue(refusal);
    const { client } = story.topUp.customer;
    (await client.post(`/v1/top_ups/${story.topUp.id}/refund`, {})).expect(409);
    expect(await notificationsOf(story)).toEqual(['refund.created', 'refund.failed']);
    expect((await eventsOf(story)).at(-1)?.data).toMatchObject({
      status: 'failed',
      failure_code: 'charge_disputed',
    });
  });

  it('whose credit was spent between the request and the wallet is published as refused', async () => {
    const story = await paid();
    const publish = events.publish.bind(events);
    jest.spyOn(events, 'publish').mockImplementation(async (tx, event) => {
      await publish(tx, event);
      if (event.type !== 'refund.created') return;
      const spent = { account: story.topUp.customer.accountId, reference: 'race', amount_micros: '9000000' };
      (await app.operator.post('/v1/debits', spent)).expect(201);
    });
    const { client } = story.topUp.customer;
    (await client.post(`/v1/top_ups/${story.topUp.id}/refund`, { credit_cents: 500 })).expect(409);
    expect(await notificationsOf(story)).toEqual(['refund.created', 'refund.refused']);
  });

  it("of Stripe's dashboard that the wallet cannot cover is published as it succeeds, and its credit as taken", async () => {
    const story = await paid();
    await story.history.take(['spend', 900]);
    control.setWebhookFaults({ copies: 3 });
    await refundElsewhere(story.topUp, 525);
    await settled(app);
    expect(await notificationsOf(story)).toEqual(['refund.created', 'refund.succeeded']);
  });
});

describe('a dispute', () => {
  it('that is won is published as it comes, as its money goes and comes back, and as it is decided', async () => {
    const story = await paid();
    control.setWebhookFaults({ copies: 3 });
    await story.history.take(['dispute', 'needs_response']);
    expect(await notificationsOf(story)).toEqual(['dispute.created', 'dispute.funds_withdrawn']);
    await story.history.take(['becomes', 'under_review']);
    await story.history.take(['becomes', 'won']);
    expect((await notificationsOf(story)).slice(2).sort()).toEqual([
      'dispute.closed',
      'dispute.funds_reinstated',
      'dispute.updated',
    ]);
    const last = (await eventsOf(story)).findLast(({ type }) => type.startsWith('dispute.'));
    const { body } = (
      await app.operator.get(`/v1/accounts/${story.topUp.customer.accountId}/disputes`)
    ).expect(200);
    expect(last).toMatchObject({ type: 'dispute.closed', data: body.data[0] });
    expect(last?.data).toMatchObject({ object: 'dispute', status: 'won', top_up: story.topUp.id });
  });

  it('that is lost is published once, however many settle it at the same time', async () => {
    const story = await paid();
    await story.history.take(['dispute', 'needs_response']);
    await story.history.take(['becomes', 'lost']);
    const [row] = await app.dataSource.query<{ id: string }[]>(
      'SELECT id FROM disputes WHERE account_id = $1',
      [story.topUp.customer.accountId],
    );
    const settlement = app.app.get(DisputeSettlementService);
    await Promise.all(Array.from({ length: 10 }, () => settlement.settle(row?.id ?? '')));
    expect(await notificationsOf(story)).toEqual([
      'dispute.created',
      'dispute.funds_withdrawn',
      'dispute.closed',
    ]);
  });

  it('that only asks is published, and so is its end', async () => {
    const story = await paid();
    await story.history.take(['dispute', 'warning_needs_response']);
    expect(await notificationsOf(story)).toEqual(['dispute.created']);
    await story.history.take(['becomes', 'warning_closed']);
    expect(await notificationsOf(story)).toEqual(['dispute.created', 'dispute.closed']);
  });

  it('whose events are cut off before each commit is still published whole, and nothing twice', async () => {
    const story = await paid();
    const publish = events.publish.bind(events);
    const cut = new Set<string>();
    control.setWebhookFaults({ loseEvents: true });
    jest.spyOn(events, 'publish').mockImplementation(async (tx, event) => {
      await publish(tx, event);
      if (cut.has(event.type) || !event.type.startsWith('dispute.')) return;
      cut.add(event.type);
      throw new Error('killed here');
    });
    const settle = async (): Promise<void> => {
      for (let cuts = 0; cuts < 5; cuts += 1) {
        await app.app
          .get(DisputeSettlementService)
          .settle(story.history.disputeId)
          .catch(() => undefined);
      }
    };
    await story.history.take(['dispute', 'needs_response']);
    await settle();
    await story.history.take(['becomes', 'lost']);
    await settle();
    expect([...cut].sort()).toEqual(['dispute.closed', 'dispute.created', 'dispute.funds_withdrawn']);
    expect(await notificationsOf(story)).toEqual([
      'dispute.created',
      'dispute.funds_withdrawn',
      'dispute.closed',
    ]);
  });
});

describe('a top-up that no one will pay', () => {
  it('is published as failed when the sweep closes it, once', async () => {
    const customer = await app.createCustomer();
    jest.spyOn(gateway, 'createCheckoutSession').mockRejectedValue(new Error('cut off'));
    (await customer.client.post('/v1/top_ups', { credit_cents: 1_000 })).expect(500);
    app.clock.aheadMs = 2 * 3_600_000;
    for (let count = 0; count < 2; count += 1) await app.app.get(TopUpSweepJob).run();
    expect(await publishedTo(app, customer.accountId)).toMatchObject([
      { type: 'top_up.failed', data: { status: 'failed', failure_code: 'checkout_not_opened' } },
    ]);
  });

  it.each([
    ['checkout_refused', new PaymentRequestRefusedError('unknown', null, new Error('no'))],
    ['payments_unavailable', new PaymentsUnavailableError(new Error('away'))],
  ])('is published as failed when its page cannot be opened: %s', async (code, error) => {
    const customer = await app.createCustomer();
    jest.spyOn(gateway, 'createCheckoutSession').mockRejectedValue(error);
    const answer = await customer.client.post('/v1/top_ups', { credit_cents: 1_000 });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(await publishedTo(app, customer.accountId)).toMatchObject([
      { type: 'top_up.failed', data: { failure_code: code, checkout_url: null } },
    ]);
  });
});
