import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { StripeBalanceJob } from '../../src/finance/reconciliation/stripe-balance.job.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { settled, startTopUp } from '../fixtures/top-up-books.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';

let app: TestApp;
let control: SandboxStripeControl;

// Its own, because it leaves money that the doctor names.
beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
});

afterAll(() => app.close());
afterEach(() => control.clearFaults());

/** What the doctor names now that it did not name before. */
const known = new Set<string>();
async function named(): Promise<readonly string[]> {
  await app.app.get(StripeBalanceJob).run();
  const found = await findDiscrepancies(app.dataSource);
  const lines = found.map(({ table, key, found: what }) => `${table} ${key}: ${what}`);
  const fresh = lines.filter((line) => !known.has(line));
  for (const line of fresh) known.add(line);
  return fresh;
}

const EUROS = { currency: 'eur', amount: 980 };

/** The events of the step arrive only once Stripe says that it is in euros. */
async function inEuros(history: ReturnHistory, kind: 'dispute' | 'refund', changes = {}): Promise<string> {
  control.setWebhookFaults({ loseEvents: true });
  await history.begin(
    kind === 'dispute' ? ['dispute', 'needs_response', 1_050] : ['refund_elsewhere', 1_050],
  );
  control.clearFaults();
  const type = kind === 'dispute' ? 'charge.dispute.funds_withdrawn' : 'refund.created';
  const event = control.events(type)[0];
  const id = String(event?.data.object['id']);
  await control.overrideMoney(kind === 'dispute' ? 'disputes' : 'refunds', id, { ...EUROS, ...changes });
  await control.sendEvent(event?.id ?? '');
  await settled(app);
  return id;
}

describe('money in another currency', () => {
  it('that a dispute takes out of a balance in US dollars is booked as what left it, and comes back in full', async () => {
    const history = await beginHistory(app, control);
    history.disputeId = await inEuros(history, 'dispute');
    expect(await history.left()).toMatchObject({
      legs: { dispute: 1_000, dispute_fee: 50 },
      available: 0,
      status: 'frozen',
    });
    await history.take(['becomes', 'won']);
    expect(await history.left()).toMatchObject({
      legs: { reinstatement: 1_000, reinstatement_fee: 50 },
      available: 1_000,
    });
    expect(await named()).toEqual([]);
  });

  it('that a refund made in Stripe takes out of a balance in US dollars is booked as what left it', async () => {
    const history = await beginHistory(app, control);
    await inEuros(history, 'refund');
    expect(await history.left()).toMatchObject({ legs: { refund: 1_000, refund_fee: 50 }, available: 0 });
    expect(await named()).toEqual([]);
  });

  it('that leaves a balance in that currency is named by the doctor at once, and the wallet is frozen', async () => {
    const history = await beginHistory(app, control);
    control.setWebhookFaults({ loseEvents: true });
    await history.begin(['dispute', 'needs_response', 1_050]);
    control.clearFaults();
    const event = control.events('charge.dispute.funds_withdrawn')[0];
    const dispute = event?.data.object as unknown as { id: string; balance_transactions: { id: string }[] };
    const [moved] = dispute.balance_transactions;
    const inEuros = { currency: 'eur', amount: -980, fee: 0, net: -980 };
    await control.overrideMoney('disputes', dispute.id, {
      ...EUROS,
      balance_transactions: [{ ...moved, ...inEuros }],
    });
    await control.overrideMoney('balanceTransactions', moved?.id ?? '', inEuros);
    await control.sendEvent(event?.id ?? '');
    await settled(app);
    expect(await history.left()).toMatchObject({ legs: { top_up: 1_000, top_up_fee: 50 }, status: 'frozen' });
    expect(await named()).toEqual([
      expect.stringContaining(
        `stripe_balance_transactions id=${moved?.id}: -980 eur cents moved by ${dispute.id}`,
      ),
    ]);
  });

  it('that a refund takes out of a balance in that currency is named by the doctor at once', async () => {
    const history = await beginHistory(app, control);
    control.setWebhookFaults({ loseEvents: true });
    await history.begin(['refund_elsewhere', 1_050]);
    control.clearFaults();
    const event = control.events('refund.created')[0];
    const refund = event?.data.object as unknown as { id: string; balance_transaction: string };
    await control.overrideMoney('refunds', refund.id, EUROS);
    const inEuros = { currency: 'eur', amount: -980, fee: 0, net: -980 };
    await control.overrideMoney('balanceTransactions', refund.balance_transaction, inEuros);
    await control.sendEvent(event?.id ?? '');
    await settled(app);
    expect(await named()).toEqual([
      expect.stringContaining(`id=${refund.balance_transaction}: -980 eur cents moved by ${refund.id}`),
    ]);
  });
});

describe('a refund that had failed when it was first heard of', () => {
  it('moves nothing, and the doctor names it only when Stripe gave back another amount', async () => {
    const history = await beginHistory(app, control);
    control.setWebhookFaults({ loseEvents: true });
    await history.begin(['refund_elsewhere', 1_050]);
    const { id } = control.events('refund.created')[0]?.data.object as unknown as { id: string };
    await control.failRefund(id);
    control.clearFaults();
    await control.sendEvent(control.events('refund.failed')[0]?.id ?? '');
    await settled(app);
    expect(await history.left()).toEqual({
      legs: { top_up: 1_000, top_up_fee: 50 },
      available: 1_000,
      debt: 0,
      status: 'active',
    });
    expect(await named()).toEqual([]);

    const other = await beginHistory(app, control);
    control.setWebhookFaults({ loseEvents: true });
    await other.begin(['refund_elsewhere', 1_050]);
    const refund = control.events('refund.created')[0]?.data.object as unknown as { id: string };
    const failed = await control.failRefund(refund.id);
    await control.overrideMoney('balanceTransactions', failed.failure_balance_transaction ?? '', {
      amount: 1_000,
      net: 1_000,
    });
    control.clearFaults();
    await control.sendEvent(control.events('refund.failed')[0]?.id ?? '');
    await settled(app);
    expect(await named()).toEqual([expect.stringContaining(`: -50 usd cents moved by ${refund.id}`)]);
  });
});

describe('a payment that was never credited', () => {
  type Review = { id: string; payment_intent: string };

  const read = async ({ id }: Review): Promise<Record<string, unknown>> =>
    (await app.operator.get(`/v1/payment_reviews/${id}`)).expect(200).body;

  const decide = async ({ id }: Review, decision: string): Promise<void> => {
    const answer = await app.operator.post(`/v1/payment_reviews/${id}/${decision}`, { reason: 'checked' });
    answer.expect(200);
    await settled(app);
  };

  /** A second payment of a top-up that is paid. */
  async function paidTwice(): Promise<Review> {
    const first = await startTopUp(app);
    await control.pay(first.sessionId);
    const second = await startTopUp(app);
    const same = { client_reference_id: first.id, metadata: { top_up_id: first.id } };
    await control.overrideCheckoutSession(second.sessionId, same);
    await control.pay(second.sessionId);
    await settled(app);
    return newestReview();
  }

  /** A payment that contradicts its quote; once it is decided, its top-up is rejected. */
  async function paidInEuros(): Promise<Review> {
    const topUp = await startTopUp(app);
    await control.overrideCheckoutSession(topUp.sessionId, { currency: 'eur' });
    await control.pay(topUp.sessionId);
    await settled(app);
    return newestReview();
  }

  async function newestReview(): Promise<Review> {
    const list = (await app.operator.get('/v1/payment_reviews')).expect(200).body.data as Review[];
    const [review] = list;
    if (review === undefined) throw new Error('no payment waits');
    return review;
  }

  it.each([
    ['return', 'a second payment', paidTwice],
    ['dismiss', 'a second payment', paidTwice],
    ['return', 'one that contradicts its quote', paidInEuros],
    ['dismiss', 'one that contradicts its quote', paidInEuros],
  ])(
    'waits for an operator again when a bank takes it after they chose to %s it, and when it comes back: %s',
    async (decision, _what, pay) => {
      const review = await pay();
      await decide(review, decision);
      expect(await named()).toEqual([]);
      const { id } = await control.createDispute({ charge: review.payment_intent, amountCents: 1_050 });
      await settled(app);
      expect(await read(review)).toMatchObject({ status: 'failed', failure_code: 'disputed', dispute: id });
      expect(await named()).toEqual([expect.stringContaining(`${review.id}: failed`)]);
      await decide(review, 'dismiss');
      await control.moveDispute(id, 'under_review');
      await settled(app);
      expect((await read(review))['status']).toBe('dismissed');
      expect(await named()).toEqual([]);
      await control.moveDispute(id, 'won');
      await settled(app);
      expect(await read(review)).toMatchObject({
        status: 'failed',
        failure_code: 'dispute_reinstated',
        dispute: null,
      });
      await decide(review, 'dismiss');
      expect(await named()).toEqual([]);
    },
  );

  it('and is taken by a bank while it waits is dismissed once', async () => {
    const review = await paidTwice();
    const { id } = await control.createDispute({ charge: review.payment_intent });
    await settled(app);
    expect(await read(review)).toMatchObject({ status: 'open', dispute: id });
    await decide(review, 'dismiss');
    await control.moveDispute(id, 'lost');
    await settled(app);
    expect((await read(review))['status']).toBe('dismissed');
    expect(await named()).toEqual([]);
  });

  it("waits again when its refund, made in Stripe's dashboard, comes back", async () => {
    const review = await paidTwice();
    const { secretKey } = app.settings.stripe ?? { secretKey: '' };
    const answer = await fetch(`${app.stripe?.baseUrl}/v1/refunds`, {
      method: 'POST',
      headers: { authorization: `Bearer ${secretKey}` },
      body: new URLSearchParams({ payment_intent: review.payment_intent }),
    });
    const { id } = (await answer.json()) as { id: string };
    await settled(app);
    expect((await read(review))['status']).toBe('returned');
    await control.failRefund(id);
    await settled(app);
    expect((await read(review))['status']).toBe('failed');
    await decide(review, 'dismiss');
  });
});
