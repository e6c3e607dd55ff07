import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import pg from 'pg';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { BalanceReaderService } from '../../src/finance/reconciliation/balance-reader.service.js';
import { PlatformBookService } from '../../src/finance/reconciliation/platform-book.service.js';
import { StripeBalanceJob } from '../../src/finance/reconciliation/stripe-balance.job.js';
import { UnappliedPaymentsService } from '../../src/finance/reconciliation/unapplied-payments.service.js';
import { StripeGapFillService } from '../../src/payments/stripe/gap-fill/stripe-gap-fill.service.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { PaymentReviewRepository } from '../../src/payments/payment-reviews/payment-review.repository.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import {
  expectCreditedOnce,
  expectNothingCredited,
  settled,
  startTopUp,
  type OpenTopUp,
} from '../fixtures/top-up-books.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { ReviewedPayments, type Reviewed } from '../support/payments/reviewed-payments.js';

/** What a customer pays for $10.00 of credit, in cents. */
const PAID = 1_050;
/** The doctor gives the job an hour. */
const EARLIER = `now() - interval '2 hours'`;

let app: TestApp;
let other: TestApp;
let control: SandboxStripeControl;
let owner: pg.Client;
let payments: ReviewedPayments;

beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
  other = await startTestApp({ databaseUrl: app.databaseUrl, settings: { stripe: app.settings.stripe } });
  payments = new ReviewedPayments(app, control);
  owner = new pg.Client({ connectionString: app.databaseUrl });
  await owner.connect();
  // Only the test reads and books, so that what is not booked yet stays so.
  for (const { app: process } of [app, other]) {
    jest.spyOn(process.get(StripeBalanceJob), 'run').mockResolvedValue(undefined);
  }
});
afterEach(() => control.clearFaults());
afterAll(async () => {
  await settled(app);
  await book();
  await expectBooksToBalance(app.dataSource);
  await owner.end();
  await other.close();
  await app.close();
});

/** What the job does. */
async function book(process: TestApp = app): Promise<void> {
  await process.app.get(BalanceReaderService).read();
  await process.app.get(PlatformBookService).bookAll();
  await process.app.get(UnappliedPaymentsService).bookAll();
}

const named = () => findDiscrepancies(app.dataSource, ['undecided payments']);

/** The rows of the platform's book about what Stripe moved for the payment, in cents, in their order. */
async function rowsOf({ intent }: Reviewed): Promise<[string, number][]> {
  const rows = await app.dataSource.query<{ kind: string; cents: number }[]>(
    `SELECT t.kind, (t.amount_micros / 10000)::int AS cents
       FROM transfers t JOIN stripe_balance_transactions b ON b.id = split_part(t.reference, ':', 2)
      WHERE t.account_id = 'acct_platform' AND t.kind LIKE 'unapplied%' AND b.payment_intent_id = $1 ORDER BY t.seq`,
    [intent],
  );
  return rows.map(({ kind, cents }) => [kind, cents]);
}

/** What of the payment is owed, in cents, once everything is booked; stripe_clearing says what Stripe says, row by row. */
async function owed(review: Reviewed): Promise<number> {
  await book();
  const report = (await app.operator.get('/v1/reports/stripe_reconciliation')).expect(200).body;
  expect(report).toMatchObject({ differences: [], difference_micros: '0' });
  await expectBooksToBalance(app.dataSource);
  const rows = await rowsOf(review);
  return rows.reduce((sum, [kind, cents]) => sum + (kind === 'unapplied_payment' ? cents : -cents), 0);
}

describe('a payment that no customer was credited with is owed, and stripe_clearing says what Stripe says,', () => {
  it('while it waits, and when its money is paid out', async () => {
    const review = await payments.contradicting();
    expect(await owed(review)).toBe(PAID);
    await control.payOut();
    expect(await owed(review)).toBe(PAID);
    const { ledger_micros: clearing } = (await app.operator.get('/v1/reports/stripe_reconciliation')).body;
    expect(clearing).toBe('0');
  });

  it('until it is credited after all: then the customer has it, once', async () => {
    const review = await payments.contradicting();
    expect(await owed(review)).toBe(PAID);
    await payments.agree(review);
    expect(await owed(review)).toBe(0);
    expect(await rowsOf(review)).toEqual([
      ['unapplied_payment', PAID],
      ['unapplied_payment_release', PAID],
    ]);
    await expectCreditedOnce(app, review.topUp);
  });

  it('until it is sent back, and again when the bank returns the refund', async () => {
    const review = await payments.contradicting();
    const { stripe_refund: refund } = await payments.decide(review, 'return');
    expect(await owed(review)).toBe(0);
    await control.failRefund(String(refund));
    await settled(app);
    expect(await owed(review)).toBe(PAID);
    await payments.decide(review, 'return');
    expect(await owed(review)).toBe(0);
  });

  it('also after it was dismissed, until a bank takes it, and again when the dispute is won', async () => {
    const review = await payments.contradicting();
    await payments.decide(review, 'dismiss');
    expect(await owed(review)).toBe(PAID);
    const { id } = await control.createDispute({ charge: review.intent, amountCents: PAID });
    await settled(app);
    expect(await owed(review)).toBe(0);
    await control.moveDispute(id, 'won');
    await settled(app);
    expect(await owed(review)).toBe(PAID);
  });

  it('until two banks have taken it in halves, and no one is asked to correct the credit of the account', async () => {
    const review = await payments.contradicting();
    for (const amountCents of [PAID / 2, PAID / 2]) {
      await control.createDispute({ charge: review.intent, amountCents, status: 'lost' });
      await settled(app);
    }
    expect(await owed(review)).toBe(0);
  });

  it('not below zero without a name: what banks took twice is named, until an operator settles it', async () => {
    const review = await payments.contradicting();
    for (const amountCents of [PAID, PAID]) {
      await control.createDispute({ charge: review.intent, amountCents, status: 'lost' });
      await settled(app);
    }
    await book();
    const [found, ...more] = await named();
    expect([found?.column, more]).toEqual(['source_id', []]);
    expect(found?.expected).toContain('change no credit of the account, which never had this payment');
    const path = `/v1/stripe_balance_transactions/${found?.key.replace('id=', '')}/settle`;
    (await app.operator.post(path, { reason: 'lost to both banks' })).expect(200);
    expect(await named()).toEqual([]);
  });

  it('when it is a second one of a paid top-up, and the first stays credited', async () => {
    const review = await payments.paidTwice();
    expect(await owed(review)).toBe(PAID);
    await payments.decide(review, 'return');
    expect(await owed(review)).toBe(0);
    await expectCreditedOnce(app, review.topUp);
  });

  it('as far as it was not sent back in Stripe’s dashboard', async () => {
    const review = await payments.contradicting();
    await payments.refundInDashboard(review, 400);
    expect(await owed(review)).toBe(PAID - 400);
  });
});

describe('a payment under review', () => {
  it('that a bank has taken is not credited when Stripe’s word agrees, and is once the bank gave it back', async () => {
    const review = await payments.contradicting();
    const { id } = await control.createDispute({ charge: review.intent, amountCents: PAID });
    await settled(app);
    await payments.agree(review);
    expect(await payments.read(review)).toMatchObject({
      status: 'open',
      contradictions: `a bank has taken it (${id})`,
    });
    await expectNothingCredited(app, review.topUp);
    expect(await owed(review)).toBe(0);
    await control.moveDispute(id, 'won');
    await settled(app);
    expect(await owed(review)).toBe(PAID);
    await payments.agree(review);
    expect(await owed(review)).toBe(0);
    await expectCreditedOnce(app, review.topUp);
  });

  it.each([
    ['noteDispute', 'disputed', 'dispute'],
    ['adoptReturn', 'sent back in Stripe’s dashboard', 'refund'],
  ] as const)(
    'that is credited in the moment in which it is found to be taken loses its credit again (%s): %s',
    async (step, _what, kind) => {
      const review = await payments.contradicting();
      const reviews = app.app.get(PaymentReviewRepository);
      const original = reviews[step].bind(reviews) as (...args: unknown[]) => Promise<boolean>;
      let credited: Promise<void> | null = null;
      const spy = jest.spyOn(reviews, step).mockImplementation(async (...args: unknown[]) => {
        credited ??= payments.credit(review);
        await credited;
        return original(...args);
      });
      if (kind === 'refund') await payments.refundInDashboard(review, PAID);
      else await control.createDispute({ charge: review.intent, amountCents: PAID });
      await settled(app);
      spy.mockRestore();
      expect(await payments.read(review)).toMatchObject({ status: 'credited' });
      expect(await owed(review)).toBe(0);
      const kinds = await owner.query<{ kind: string }>(
        'SELECT kind FROM transfers WHERE account_id = $1 ORDER BY seq',
        [review.topUp.customer.accountId],
      );
      expect(kinds.rows.map((row) => row.kind)).toEqual(['top_up', 'top_up_fee', kind, `${kind}_fee`]);
    },
  );

  it('that is credited after a part of it went back leaves stripe_clearing right, and the doctor names the part', async () => {
    const review = await payments.contradicting();
    await payments.refundInDashboard(review, 400);
    await payments.agree(review);
    await expectCreditedOnce(app, review.topUp);
    await book();
    const [refund] = (
      await owner.query<{ id: string }>(
        `SELECT id FROM stripe_balance_transactions WHERE payment_intent_id = $1 AND type = 'refund'`,
        [review.intent],
      )
    ).rows;
    expect(await named()).toEqual([expect.objectContaining({ key: `id=${refund?.id}` })]);
    const route = `/v1/stripe_balance_transactions/${refund?.id}/settle`;
    (await app.operator.post(route, { reason: 'the customer keeps it' })).expect(200);
    expect(await owed(review)).toBe(-400);
  });
});

describe('the booking of payments that no customer was credited with', () => {
  it('books what a release before it left out, once, however many processes do it at once', async () => {
    const review = await payments.contradicting();
    await app.app.get(BalanceReaderService).read();
    await app.app.get(PlatformBookService).bookAll();
    expect(await rowsOf(review)).toEqual([]);
    await Promise.all([app, other, app, other].map((process) => book(process)));
    expect(await rowsOf(review)).toEqual([['unapplied_payment', PAID]]);
    await payments.agree(review);
    await Promise.all([app, other, app, other].map((process) => book(process)));
    expect(await owed(review)).toBe(0);
    expect(await rowsOf(review)).toHaveLength(2);
  });

  it('ends right when a process that had read it as not credited books it after it was', async () => {
    const review = await payments.contradicting();
    await app.app.get(BalanceReaderService).read();
    const engine = app.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    const spy = jest.spyOn(engine, 'execute').mockImplementation(async (command) => {
      if (command.type === 'book' && command.reference.startsWith('unapplied:')) {
        spy.mockRestore();
        await payments.agree(review);
        await book(other);
      }
      return execute(command);
    });
    await app.app.get(UnappliedPaymentsService).bookAll();
    spy.mockRestore();
    expect(await owed(review)).toBe(0);
    await expectCreditedOnce(app, review.topUp);
  });

  it('is named by the doctor when it did not happen within an hour, both ways', async () => {
    const review = await payments.contradicting();
    await app.app.get(BalanceReaderService).read();
    await app.app.get(PlatformBookService).bookAll();
    const age = async (): Promise<void> => {
      const { intent } = review;
      const tables = { stripe_balance_transactions: 'stored_at', payment_reviews: 'created_at' };
      for (const [table, column] of Object.entries(tables)) {
        const sql = `UPDATE ${table} SET ${column} = ${EARLIER} WHERE payment_intent_id = $1`;
        await owner.query(sql, [intent]);
      }
      // A trigger keeps the time of a paid top-up, also for the owner.
      await owner.query('ALTER TABLE top_ups DISABLE TRIGGER USER');
      const sql = `UPDATE top_ups SET paid_at = ${EARLIER} WHERE payment_intent_id = $1 AND status = 'paid'`;
      await owner.query(sql, [intent]);
      await owner.query('ALTER TABLE top_ups ENABLE TRIGGER USER');
    };
    expect(await named()).toEqual([]);
    await age();
    const key = expect.stringMatching(/^account_id=acct_platform reference=unapplied:txn_/);
    expect(await named()).toEqual([
      expect.objectContaining({ key, expected: '10500000 in unapplied_payments', found: 'none' }),
    ]);
    expect(await owed(review)).toBe(PAID);
    await payments.agree(review);
    await age();
    expect(await named()).toEqual([
      expect.objectContaining({ key, expected: '0 in unapplied_payments', found: '10500000' }),
    ]);
    expect(await owed(review)).toBe(0);
  });
});

describe('a payment of a top-up for which another one came first', () => {
  /** The page of one customer, and a payment by another page that claims to be for the same top-up and waits for review. */
  async function claimed(): Promise<{ topUp: OpenTopUp; foreign: Reviewed }> {
    const topUp = await startTopUp(app);
    const same = { client_reference_id: topUp.id, metadata: { top_up_id: topUp.id } };
    return { topUp, foreign: { ...(await payments.payAnother(await startTopUp(app), same)), topUp } };
  }

  it('is credited, and the other one goes on waiting for an operator', async () => {
    const { topUp, foreign } = await claimed();
    await control.pay(topUp.sessionId);
    await settled(app);
    expect(await owed(foreign)).toBe(PAID);
    await expectCreditedOnce(app, topUp);
    expect(await payments.read(foreign)).toMatchObject({ status: 'open' });
    await payments.decide(foreign, 'return');
    expect(await owed(foreign)).toBe(0);
    await expectCreditedOnce(app, topUp);
  });

  it('waits for an operator when they have decided about the other one, so that it is not lost', async () => {
    const { topUp, foreign } = await claimed();
    await payments.decide(foreign, 'return');
    await control.pay(topUp.sessionId);
    await settled(app);
    const { id, payment_intent: intent, status, amount } = await payments.reviewOf(topUp.sessionId);
    expect({ status, amount }).toEqual({ status: 'open', amount: PAID });
    const own = { topUp, id: String(id), intent: String(intent) };
    expect(await owed(own)).toBe(PAID);
    await payments.decide(own, 'return');
    expect(await owed(own)).toBe(0);
    await expectNothingCredited(app, topUp);
  });

  it('is named by the doctor while no review has it, and waits for an operator once its event is heard of', async () => {
    const { topUp, foreign } = await claimed();
    await payments.decide(foreign, 'return');
    control.setWebhookFaults({ loseEvents: true });
    await control.pay(topUp.sessionId);
    control.clearFaults();
    await book();
    await owner.query(`UPDATE stripe_balance_transactions SET stored_at = ${EARLIER} WHERE top_up_id = $1`, [
      topUp.id,
    ]);
    expect(await named()).toEqual([
      expect.objectContaining({
        expected: 'a payment that is credited or reviewed',
        found: expect.stringContaining(topUp.id),
      }),
    ]);
    await app.app.get(StripeGapFillService).fill(Date.now());
    await settled(app);
    const { id, payment_intent: intent } = await payments.reviewOf(topUp.sessionId);
    expect(await owed({ topUp, id: String(id), intent: String(intent) })).toBe(PAID);
  });

  it('is named by the doctor when a release before closed its review as credited, until an operator settles it', async () => {
    const review = await payments.paidTwice();
    await book();
    await owner.query(
      `UPDATE payment_reviews SET status = 'credited', checked_at = ${EARLIER} WHERE id = $1`,
      [review.id],
    );
    const sql = `UPDATE stripe_balance_transactions SET stored_at = ${EARLIER} WHERE payment_intent_id = $1 RETURNING id`;
    const { rows } = await owner.query<{ id: string }>(sql, [review.intent]);
    const id = rows[0]?.id ?? '';
    expect(await named()).toEqual([expect.objectContaining({ key: `id=${id}` })]);
    const route = `/v1/stripe_balance_transactions/${id}/settle`;
    (await app.operator.post(route, { reason: 'sent back by bank transfer' })).expect(200);
    expect(await owed(review)).toBe(PAID);
  });
});
