import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { DataSource } from 'typeorm';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { PAYMENT_GATEWAY, type PaymentGateway } from '../../src/payments/stripe/payment-gateway.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import type { Event } from 'coffer-sandbox/stripe/objects';
import { PaymentReviewRepository } from '../../src/payments/payment-reviews/payment-review.repository.js';
import { PaymentReviewSweepJob } from '../../src/payments/payment-reviews/payment-review-sweep.job.js';
import { TopUpSettlementService } from '../../src/payments/settlement/top-up-settlement.service.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';
import {
  expectCreditedOnce,
  expectNothingCredited,
  settled,
  startTopUp,
  statusOf,
  type OpenTopUp,
} from '../fixtures/top-up-books.js';

type Body = Readonly<Record<string, unknown>>;
type Reviewed = { readonly topUp: OpenTopUp; readonly id: string; readonly intent: string };

const REASON = { reason: 'paid another amount than was quoted' };

describe('a payment that contradicts its quote', () => {
  let app: TestApp;
  let control: SandboxStripeControl;
  let gateway: PaymentGateway;

  beforeAll(async () => {
    app = await startTestApp({ stripe: true });
    if (app.stripe === null) throw new Error('this test needs the sandbox');
    control = app.stripe.control;
    gateway = app.app.get<PaymentGateway>(PAYMENT_GATEWAY);
  });

  afterEach(async () => {
    jest.restoreAllMocks();
    control.clearFaults();
    await settled(app);
    await expectBooksToBalance(app.dataSource);
  });

  afterAll(() => app.close());

  function eventOf({ sessionId }: OpenTopUp): Event {
    const event = control
      .events('checkout.session.completed')
      .find(({ data }) => data.object['id'] === sessionId);
    if (event === undefined) throw new Error(`${sessionId} is not paid`);
    return event;
  }

  /** Paid $10.50, of which Stripe reports something else. */
  async function underReview(changes: Body = { amount_subtotal: 105, amount_total: 105 }): Promise<Reviewed> {
    const topUp = await startTopUp(app);
    control.setWebhookFaults({ delayMs: 50 });
    await control.pay(topUp.sessionId);
    await control.overrideCheckoutSession(topUp.sessionId, changes);
    await settled(app);
    control.clearFaults();
    expect(await statusOf(app, topUp)).toBe('needs_review');
    const review = await reviewOf(topUp.sessionId);
    return { topUp, id: String(review['id']), intent: String(review['payment_intent']) };
  }

  async function reviewOf(payment: string): Promise<Body> {
    const { body } = (await app.operator.get('/v1/payment_reviews?limit=100')).expect(200);
    const found = (body.data as Body[]).filter((review) => review['payment'] === payment);
    expect(found).toHaveLength(1);
    return found[0] ?? {};
  }

  const read = async (id: string): Promise<Body> =>
    (await app.operator.get(`/v1/payment_reviews/${id}`)).expect(200).body as Body;
  const decide = (id: string, decision: 'return' | 'dismiss', body: unknown = REASON): Promise<TestAnswer> =>
    app.operator.post(`/v1/payment_reviews/${id}/${decision}`, body);

  /** All that was said once is said again. */
  async function repeatEverything({ topUp }: Reviewed): Promise<void> {
    await control.sendEvent(eventOf(topUp).id, { times: 3 });
    for (const event of control.events().filter(({ type }) => type.startsWith('refund.')))
      await control.sendEvent(event.id, { times: 2 });
    await app.app.get(TopUpSettlementService).settle(topUp.sessionId);
    await settled(app);
  }

  const refundsAtStripe = async (intent: string): Promise<[string | null, number][]> =>
    (await gateway.listRefunds(intent)).map(({ status, amountCents }) => [status, Number(amountCents)]);

  async function makeUnchecked(id: string): Promise<void> {
    const sql = `UPDATE payment_reviews SET checked_at = checked_at - interval '3 minutes' WHERE id = $1`;
    await app.dataSource.query(sql, [id]);
  }

  it('is listed for operators with what disagrees, and for no one else', async () => {
    const { topUp, id } = await underReview();
    expect(await read(id)).toMatchObject({
      object: 'payment_review',
      account: topUp.customer.accountId,
      top_up: topUp.id,
      status: 'open',
      paid: true,
      amount: 105,
      currency: 'usd',
      contradictions: expect.stringContaining('amount_total is $1.05'),
      stripe_refund: null,
      decisions: [],
    });
    const { body } = (await app.operator.get('/v1/payment_reviews?status=open&limit=1')).expect(200);
    expect(body).toMatchObject({ object: 'list', data: [{ id }] });
    (await app.operator.get('/v1/payment_reviews?status=lost')).expect(400);
    (await topUp.customer.client.get('/v1/payment_reviews')).expect(403);
    (await topUp.customer.client.post(`/v1/payment_reviews/${id}/return`, REASON)).expect(403);
    (await app.client(null).get(`/v1/payment_reviews/${id}`)).expect(401);
    (await decide('rv_01KB2H7Q0000000000000000AA', 'return')).expect(404);
    for (const body of [{}, { reason: '' }, { reason: 'x', amount_cents: 1 }])
      (await decide(id, 'return', body)).expect(400);
    expect((await read(id))['status']).toBe('open');
    const { body: metrics } = await app.client(null).get('/metrics');
    expect(String(metrics)).toMatch(/^coffer_payments_under_review\{.*status="open".*\} [1-9]/m);
    expect(String(metrics)).toMatch(/^coffer_payment_review_age_seconds\{.*status="open".*\} /m);
    (await decide(id, 'dismiss')).expect(200);
  });

  it.each<[string, Body]>([
    ['amount', { amount_subtotal: 105, amount_total: 105 }],
    ['currency', { currency: 'eur' }],
    ['mode', { livemode: true }],
    ['top-up', { client_reference_id: 'tu_01KB2H7Q0000000000000000AA' }],
  ])('of another %s goes back in full, once, and is never credited', async (_what, changes) => {
    const review = await underReview(changes);
    const answers = await Promise.all([1, 2, 3, 4].map(() => decide(review.id, 'return')));
    for (const answer of answers) answer.expect(200);
    await settled(app);
    expect(await refundsAtStripe(review.intent)).toEqual([['succeeded', 1_050]]);
    const after = await read(review.id);
    expect(after).toMatchObject({
      status: 'returned',
      stripe_refund: expect.stringMatching(/^re_/),
      failure_code: null,
      decisions: [{ decision: 'return', ...REASON, actor: expect.stringMatching(/^operator_key:/) }],
    });
    const view = await review.topUp.customer.client.get(`/v1/top_ups/${review.topUp.id}`);
    expect(view.body).toMatchObject({ status: 'rejected', failure_code: 'payment_rejected', paid_at: null });

    // Stripe changes its mind: now everything would agree.
    await control.overrideCheckoutSession(review.topUp.sessionId, {
      amount_subtotal: 1_050,
      amount_total: 1_050,
      currency: 'usd',
      livemode: false,
      client_reference_id: review.topUp.id,
    });
    await repeatEverything(review);
    (await decide(review.id, 'return', { reason: 'once more' })).expect(200);
    expect((await decide(review.id, 'dismiss')).expect(409).body.error.code).toBe('payment_review_resolved');
    expect(await refundsAtStripe(review.intent)).toEqual([['succeeded', 1_050]]);
    expect(await read(review.id)).toEqual(after);
    await expectNothingCredited(app, review.topUp);
  });

  it('is dismissed with a reason, and events that come later change nothing', async () => {
    const review = await underReview();
    (await decide(review.id, 'dismiss', { reason: 'settled by invoice' })).expect(200);
    (await decide(review.id, 'dismiss', { reason: 'again' })).expect(200);
    await control.overrideCheckoutSession(review.topUp.sessionId, {
      amount_subtotal: 1_050,
      amount_total: 1_050,
    });
    await repeatEverything(review);
    expect(await read(review.id)).toMatchObject({
      status: 'dismissed',
      decisions: [{ decision: 'dismiss', reason: 'settled by invoice' }],
    });
    expect(await statusOf(app, review.topUp)).toBe('rejected');
    expect((await decide(review.id, 'return')).expect(409).body.error.code).toBe('payment_review_resolved');
    expect(await refundsAtStripe(review.intent)).toEqual([]);
    await expectNothingCredited(app, review.topUp);
  });

  it('is credited, and cannot be sent back any more, when Stripe’s word agrees before anybody decided', async () => {
    const review = await underReview();
    await control.overrideCheckoutSession(review.topUp.sessionId, {
      amount_subtotal: 1_050,
      amount_total: 1_050,
    });
    await repeatEverything(review);
    expect(await read(review.id)).toMatchObject({ status: 'credited', decisions: [] });
    for (const decision of ['return', 'dismiss'] as const)
      expect((await decide(review.id, decision)).expect(409).body.error.code).toBe('payment_review_resolved');
    expect(await refundsAtStripe(review.intent)).toEqual([]);
    await expectCreditedOnce(app, review.topUp);
  });

  it('is either credited or sent back when both happen at the same moment', async () => {
    const reviews: Reviewed[] = [];
    for (let index = 0; index < 6; index += 1) reviews.push(await underReview());
    const agreeing = { amount_subtotal: 1_050, amount_total: 1_050 };
    for (const { topUp } of reviews) await control.overrideCheckoutSession(topUp.sessionId, agreeing);
    const settlement = app.app.get(TopUpSettlementService);
    await Promise.all(
      reviews.flatMap(({ topUp, id }, index) => {
        const acts = [() => settlement.settle(topUp.sessionId), () => decide(id, 'return')];
        return (index % 2 === 0 ? acts : acts.toReversed()).map((act) => act());
      }),
    );
    await settled(app);
    for (const { topUp, id, intent } of reviews) {
      const { status } = (await read(id)) as { status: string };
      expect(['credited', 'returned']).toContain(status);
      expect(await refundsAtStripe(intent)).toEqual(status === 'returned' ? [['succeeded', 1_050]] : []);
      if (status === 'credited') await expectCreditedOnce(app, topUp);
      else await expectNothingCredited(app, topUp);
    }
  });

  it('that is a second one for the same top-up goes back, and the first stays credited', async () => {
    const first = await startTopUp(app);
    await control.pay(first.sessionId);
    const second = await startTopUp(app);
    const same = { client_reference_id: first.id, metadata: { top_up_id: first.id } };
    await control.overrideCheckoutSession(second.sessionId, same);
    await control.pay(second.sessionId);
    await settled(app);
    const { id, payment_intent: intent } = await reviewOf(second.sessionId);
    (await decide(String(id), 'return', { reason: 'paid twice' })).expect(200);
    await settled(app);
    expect(await read(String(id))).toMatchObject({ status: 'returned', top_up: first.id });
    expect(await refundsAtStripe(String(intent))).toEqual([['succeeded', 1_050]]);
    await expectCreditedOnce(app, first);
  });

  it('goes back once although Stripe was away, and its answer was lost', async () => {
    const review = await underReview();
    control.failRequests({ method: 'POST', pathPrefix: '/v1/refunds', outcome: 500, times: 3 });
    expect((await decide(review.id, 'return')).expect(200).body.status).toBe('returning');
    await app.app.get(PaymentReviewSweepJob).run();
    expect(await refundsAtStripe(review.intent)).toEqual([]);
    await makeUnchecked(review.id);
    const sweep = app.app.get(PaymentReviewSweepJob);
    // The process dies between Stripe's answer and the note of it.
    jest.spyOn(PaymentReviewRepository.prototype, 'move').mockRejectedValueOnce(new Error('cut off'));
    jest.spyOn(PaymentReviewRepository.prototype, 'note').mockResolvedValueOnce();
    control.setWebhookFaults({ loseEvents: true });
    await sweep.run();
    expect((await read(review.id))['status']).toBe('returning');
    await Promise.all([sweep.run(), sweep.run()]);
    expect((await read(review.id))['status']).toBe('returned');
    expect(await refundsAtStripe(review.intent)).toEqual([['succeeded', 1_050]]);
    await expectNothingCredited(app, review.topUp);
  });

  it('whose return the bank sends back is under review again, and goes back by a second refund', async () => {
    const review = await underReview();
    const made = (await decide(review.id, 'return')).expect(200).body as Body;
    await control.failRefund(String(made['stripe_refund']));
    await settled(app);
    expect(await read(review.id)).toMatchObject({
      status: 'failed',
      failure_code: 'expired_or_canceled_card',
    });
    (await decide(review.id, 'return', { reason: 'the customer has a new card' })).expect(200);
    await repeatEverything(review);
    const after = await read(review.id);
    expect(after).toMatchObject({ status: 'returned', failure_code: null });
    expect(after['stripe_refund']).not.toBe(made['stripe_refund']);
    expect(after['decisions']).toHaveLength(2);
    expect((await refundsAtStripe(review.intent)).sort()).toEqual([
      ['failed', 1_050],
      ['succeeded', 1_050],
    ]);
    await expectNothingCredited(app, review.topUp);
  });

  it('that Stripe refuses to send back is under review again, and says why', async () => {
    const review = await underReview();
    await control.createDispute({ charge: review.intent });
    const { error } = (await decide(review.id, 'return')).expect(409).body as { error: Body };
    expect(error).toMatchObject({ code: 'payment_return_refused', provider_code: 'charge_disputed' });
    expect(await read(review.id)).toMatchObject({ status: 'failed', failure_code: 'charge_disputed' });
    (await decide(review.id, 'dismiss', { reason: 'the bank takes it back' })).expect(200);
    await expectNothingCredited(app, review.topUp);
  });

  it('that somebody sends back in Stripe’s dashboard is returned as well', async () => {
    const review = await underReview({ client_reference_id: 'tu_01KB2H7Q0000000000000000AA' });
    const { secretKey } = app.settings.stripe ?? { secretKey: '' };
    const request = await fetch(new URL('/v1/refunds', app.stripe?.baseUrl), {
      method: 'POST',
      headers: {
        authorization: `Bearer ${secretKey}`,
        'content-type': 'application/x-www-form-urlencoded',
      },
      body: `payment_intent=${review.intent}`,
    });
    expect(request.status).toBe(200);
    await settled(app);
    await repeatEverything(review);
    expect(await read(review.id)).toMatchObject({ status: 'returned', decisions: [] });
    expect(await statusOf(app, review.topUp)).toBe('rejected');
    (await decide(review.id, 'return')).expect(200);
    expect(await refundsAtStripe(review.intent)).toEqual([['succeeded', 1_050]]);
    await expectNothingCredited(app, review.topUp);
  });

  it('that was never paid cannot go back; paid after it was dismissed, it waits again', async () => {
    const topUp = await startTopUp(app);
    await control.overrideCheckoutSession(topUp.sessionId, { currency: 'eur' });
    await app.app.get(TopUpSettlementService).settle(topUp.sessionId);
    const id = String((await reviewOf(topUp.sessionId))['id']);
    expect(await read(id)).toMatchObject({ status: 'open', paid: false });
    expect((await decide(id, 'return')).expect(409).body.error.code).toBe('payment_not_returnable');
    (await decide(id, 'dismiss')).expect(200);
    await app.app.get(TopUpSettlementService).settle(topUp.sessionId);
    expect((await read(id))['status']).toBe('dismissed');
    await control.pay(topUp.sessionId);
    await settled(app);
    expect(await read(id)).toMatchObject({ status: 'open', paid: true });
    (await decide(id, 'return')).expect(200);
    await settled(app);
    expect(await read(id)).toMatchObject({
      status: 'returned',
      decisions: [{ decision: 'dismiss' }, { decision: 'return' }],
    });
    await expectNothingCredited(app, topUp);
  });

  it('stays as it was decided, against any writer, and so does who decided it', async () => {
    const review = await underReview();
    (await decide(review.id, 'return')).expect(200);
    await settled(app);
    const attempts = [
      `UPDATE payment_reviews SET status = 'open' WHERE id = $1`,
      `UPDATE payment_reviews SET status = 'credited' WHERE id = $1`,
      `UPDATE payment_reviews SET payment = 'cs_other' WHERE id = $1`,
      `UPDATE top_ups SET status = 'failed' WHERE id = (SELECT top_up_id FROM payment_reviews WHERE id = $1)`,
      `UPDATE payment_review_decisions SET reason = 'another' WHERE review_id = $1`,
      `DELETE FROM payment_review_decisions WHERE review_id = $1`,
      `DELETE FROM payment_reviews WHERE id = $1`,
    ];
    for (const sql of attempts) {
      await expect(app.dataSource.query(sql, [review.id])).rejects.toThrow(
        /stays so|its quote is fixed|permission denied/,
      );
    }
  });

  it.each([
    ['was sent back although it was credited', 'SELECT 1'],
    [
      'was rejected although it was credited',
      `UPDATE top_ups SET status = 'rejected', paid_at = NULL, checkout_session_id = NULL WHERE id = $1`,
    ],
  ])('is named by the doctor when it %s', async (_what, harm) => {
    const topUp = await startTopUp(app);
    await control.pay(topUp.sessionId);
    await settled(app);
    const owner = await new DataSource({ type: 'postgres', url: app.databaseUrl }).initialize();
    // Without the triggers that refuse it.
    await owner.query('ALTER TABLE top_ups DISABLE TRIGGER USER');
    await owner.query(
      `INSERT INTO payment_reviews (account_id, id, top_up_id, status, payment, paid, contradictions, returns,
                                    stripe_refund_id, created_at, checked_at)
       SELECT account_id, 'rv_harm', id, 'returned', checkout_session_id, true, 'currency is eur', 1, 're_1', now(), now()
         FROM top_ups WHERE id = $1`,
      [topUp.id],
    );
    await owner.query(harm, harm.includes('$1') ? [topUp.id] : []);
    const found = await findDiscrepancies(app.dataSource);
    await owner.query(`DELETE FROM payment_reviews WHERE id = 'rv_harm'`);
    const repair = `UPDATE top_ups SET status = 'paid', paid_at = now(), checkout_session_id = $2 WHERE id = $1`;
    await owner.query(repair, [topUp.id, topUp.sessionId]);
    await owner.query('ALTER TABLE top_ups ENABLE TRIGGER USER');
    await owner.destroy();
    expect(found.map(({ table, key }) => `${table} ${key}`)).toContain(
      `payment_reviews account_id=${topUp.customer.accountId} id=rv_harm`,
    );
  });
});
