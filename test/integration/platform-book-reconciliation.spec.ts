import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Readable } from 'node:stream';
import pg from 'pg';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { StripeBalanceJob } from '../../src/finance/reconciliation/stripe-balance.job.js';
import { verifyStream } from '../../src/money/ledger/export/verify-export.js';
import { StripeGapFillService } from '../../src/payments/stripe/gap-fill/stripe-gap-fill.service.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { expectBooksToBalance } from '../fixtures/books.js';
import { chargeIdOf, paidTopUp, refundIdOf } from '../support/payments/paid-top-up.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { settled, startTopUp } from '../fixtures/top-up-books.js';

/** 2.9% and 30 cents of $10.50. */
const CHARGE_FEE = 60;

let app: TestApp;
let control: SandboxStripeControl;
let owner: pg.Client;

const read = (): Promise<void> => app.app.get(StripeBalanceJob).run();

/** Money of every kind: paid, refunded in vain, disputed and won, paid out and returned. */
beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
  owner = new pg.Client({ connectionString: app.databaseUrl });
  await owner.connect();
  const refunded = await paidTopUp(app);
  (await refunded.customer.client.post(`/v1/top_ups/${refunded.id}/refund`, {})).expect(200);
  await control.failRefund(await refundIdOf(app, refunded));
  const charge = await chargeIdOf(app, await paidTopUp(app));
  const { id: disputeId } = await control.createDispute({ charge, reason: 'fraudulent' });
  await control.moveDispute(disputeId, 'won');
  const { id: payoutId } = await control.payOut();
  await control.failPayout(payoutId);
  await settled(app);
  await read();
});

afterEach(() => control.clearFaults());

afterAll(async () => {
  await settled(app);
  await read();
  await expectBooksToBalance(app.dataSource);
  await owner.end();
  await app.close();
});

describe('the report', () => {
  const report = async (query = '', scope = app.operator) =>
    (await scope.get(`/v1/reports/stripe_reconciliation${query}`)).expect(200).body;

  it('agrees with Stripe to the cent, and shows what Stripe kept', async () => {
    await settled(app);
    await read();
    const { ledger_micros: ledger, stripe_micros: stripe, ...rest } = await report();
    expect(ledger).toBe(stripe);
    expect(rest).toMatchObject({
      object: 'stripe_reconciliation',
      unapplied_micros: '0',
      differences: [],
      difference_micros: '0',
      has_more_differences: false,
      other_currencies: 0,
    });
    const categories = rest['categories'] as { reporting_category: string; [amount: string]: unknown }[];
    expect(categories.map(({ reporting_category: category }) => category)).toEqual([
      'charge',
      'dispute',
      'dispute_reversal',
      'payout',
      'payout_reversal',
      'refund',
      'refund_failure',
    ]);
    const charges = Number(categories[0]?.['count']);
    expect(categories[0]).toEqual({
      reporting_category: 'charge',
      count: charges,
      amount_micros: String(charges * 10_500_000),
      fee_micros: String(charges * CHARGE_FEE * 10_000),
      net_micros: String(charges * (10_500_000 - CHARGE_FEE * 10_000)),
      booked_micros: String(charges * (10_500_000 - CHARGE_FEE * 10_000)),
      difference_micros: '0',
    });
    expect(categories.every(({ difference_micros: difference }) => difference === '0')).toBe(true);
  });

  it('agrees with Stripe while a payment waits for review: its money is owed, and no one’s credit', async () => {
    const topUp = await startTopUp(app);
    control.setWebhookFaults({ loseEvents: true });
    await control.pay(topUp.sessionId);
    control.clearFaults();
    await control.overrideCheckoutSession(topUp.sessionId, { amount_subtotal: 1 });
    const completed = control.events('checkout.session.completed');
    const event = completed.find(({ data }) => data.object['id'] === topUp.sessionId);
    await control.sendEvent(event?.id ?? '');
    await settled(app);
    await read();
    expect(await findDiscrepancies(app.dataSource, ['undecided payments'])).toEqual([]);
    expect(await report()).toMatchObject({
      unapplied_micros: '10500000',
      difference_micros: '0',
      differences: [],
    });
  });

  it('is about the range that was asked for, and about nothing that is no range', async () => {
    expect(await report('?from=2020-01-01&to=2020-02-01')).toMatchObject({ categories: [], differences: [] });
    (await app.operator.get('/v1/reports/stripe_reconciliation?from=yesterday')).expect(400);
    (await app.operator.get('/v1/reports/stripe_reconciliation?account=acct_1')).expect(400);
  });

  it('is for finance only', async () => {
    const { client } = await app.createCustomer();
    (await client.get('/v1/reports/stripe_reconciliation')).expect(403);
  });
});

/** Of a payment that was credited. */
const ONE_CHARGE = `(SELECT min(b.id) FROM stripe_balance_transactions b JOIN top_ups u ON u.id = b.top_up_id
                     WHERE b.type = 'charge' AND u.status = 'paid')`;

describe('the doctor', () => {
  const problems = () => findDiscrepancies(app.dataSource, ['undecided payments']);

  beforeAll(async () => {
    await settled(app);
    await read();
  });

  it.each([
    [
      'kept more than is booked',
      'fee_cents = fee_cents + 1, net_cents = net_cents - 1',
      'processor_fees 610000',
    ],
    [
      'collected another amount',
      'amount_cents = amount_cents + 5, net_cents = net_cents + 5',
      '10550000 into stripe_clearing',
    ],
  ])('names the balance transaction and the difference when Stripe %s', async (_what, change, expected) => {
    await asOwner(async () => {
      await owner.query(`UPDATE stripe_balance_transactions SET ${change} WHERE id = ${ONE_CHARGE}`);
      expect(await problems()).toEqual([
        expect.objectContaining({ table: 'transfers', expected: expect.stringContaining(expected) }),
      ]);
    });
  });

  it('names what we booked and Stripe never reported: our own part, and a customer’s', async () => {
    await asOwner(async () => {
      await owner.query(`UPDATE stripe_balance_cursors SET complete_until = now() + interval '2 hours'`);
      await owner.query(`DELETE FROM stripe_balance_transactions WHERE id = ${ONE_CHARGE}`);
      expect(await problems()).toEqual([
        expect.objectContaining({
          table: 'stripe_balance_transactions',
          key: expect.stringContaining('id=txn_'),
        }),
        expect.objectContaining({ key: expect.stringContaining('reference=top_up:tu_'), found: 'none' }),
      ]);
    });
  });

  it('names credit that came back to a wallet although Stripe keeps the refund as made', async () => {
    await asOwner(async () => {
      await owner.query(`UPDATE stripe_balance_cursors SET complete_until = now() + interval '2 hours'`);
      await owner.query(`DELETE FROM stripe_balance_transactions WHERE type = 'refund_failure'`);
      expect(await problems()).toEqual([
        expect.objectContaining({
          table: 'stripe_balance_transactions',
          key: expect.stringMatching(/reference=refund:re_[^:]+:failed$/),
          found: 'none',
        }),
      ]);
    });
  });

  it('names a payment that came long ago and was never credited', async () => {
    const topUp = await startTopUp(app);
    control.setWebhookFaults({ loseEvents: true });
    await control.pay(topUp.sessionId);
    control.clearFaults();
    await read();
    await asOwner(async () => {
      await owner.query(`UPDATE stripe_balance_transactions SET stored_at = now() - interval '2 hours'`);
      expect(await problems()).toEqual([
        expect.objectContaining({
          key: expect.stringContaining(`reference=top_up:${topUp.id}`),
          found: 'none',
        }),
      ]);
    });
    await app.app.get(StripeGapFillService).fill(Date.now());
    await settled(app);
  });

  it('names what was reported long ago and never booked', async () => {
    await asOwner(async () => {
      const booked = `SELECT * FROM stripe_balance_transactions WHERE type = 'charge' LIMIT 1`;
      await owner.query(`
        INSERT INTO stripe_balance_transactions
        SELECT 'txn_forgotten', livemode, 'stripe_fee', 'fee', currency, -200, 0, -200, NULL, NULL, NULL,
               created_at, now() - interval '2 hours', NULL FROM (${booked}) b`);
      expect(await problems()).toEqual([
        expect.objectContaining({ key: expect.stringContaining('txn_forgotten'), found: 'none' }),
      ]);
    });
  });

  /** What only an administrator with a bad day can do; undone by copies of the two tables. */
  async function asOwner(spoil: () => Promise<void>): Promise<void> {
    const tables = ['stripe_balance_transactions', 'stripe_balance_cursors'];
    for (const table of tables) await owner.query(`CREATE TABLE kept_${table} AS SELECT * FROM ${table}`);
    await owner.query('ALTER TABLE stripe_balance_transactions DISABLE TRIGGER USER');
    try {
      await spoil();
    } finally {
      for (const table of tables) {
        await owner.query(
          `DELETE FROM ${table}; INSERT INTO ${table} SELECT * FROM kept_${table}; DROP TABLE kept_${table}`,
        );
      }
      await owner.query('ALTER TABLE stripe_balance_transactions ENABLE TRIGGER USER');
    }
    expect(await problems()).toEqual([]);
  }
});

describe('the export of the platform book', () => {
  it('proves itself with no server, fees, returns and payouts included', async () => {
    const answer = await fetch(`${app.url}/v1/exports/ledger?format=jsonl&account=acct_platform`, {
      headers: { authorization: `Bearer ${app.operatorKey}` },
    });
    const file = Buffer.from(await answer.arrayBuffer());
    expect(file.toString()).toContain('"kind":"payout_return"');
    expect(await verifyStream(Readable.from([file]))).toMatchObject({ ok: true });
    const forged = Buffer.from(file.toString().replace('"kind":"payout_return"', '"kind":"payout"'));
    expect(await verifyStream(Readable.from([forged]))).toMatchObject({
      ok: false,
      fault: { column: 'debit_account' },
    });
  });
});

describe('what Stripe reported', () => {
  it.each([
    [
      'is not changed by the service',
      'UPDATE stripe_balance_transactions SET fee_cents = 0, net_cents = amount_cents',
    ],
    ['is not booked a second time', 'UPDATE stripe_balance_transactions SET booked_at = NULL'],
    ['is not deleted', 'DELETE FROM stripe_balance_transactions'],
  ])('%s', async (_what, sql) => {
    await expect(app.dataSource.query(sql)).rejects.toThrow(/kept as it was told|permission denied/);
  });
});
