import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import pg from 'pg';
import { BalanceReaderService } from '../../src/finance/reconciliation/balance-reader.service.js';
import { PlatformBookService } from '../../src/finance/reconciliation/platform-book.service.js';
import { StripeBalanceJob } from '../../src/finance/reconciliation/stripe-balance.job.js';
import { StripeGapFillService } from '../../src/payments/stripe/gap-fill/stripe-gap-fill.service.js';
import { micros } from '../../src/platform/common/money.js';
import { StripeBalanceList } from '../../src/payments/stripe/stripe-balance-list.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { chargeIdOf, paidTopUp, refundIdOf } from '../support/payments/paid-top-up.js';
import { settled, startTopUp, type OpenTopUp } from '../fixtures/top-up-books.js';

/** 2.9% and 30 cents of $10.50. */
const CHARGE_FEE = 60;
const DISPUTE_FEE = 1_500;

let app: TestApp;
let other: TestApp;
let control: SandboxStripeControl;
let owner: pg.Client;

beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
  other = await startTestApp({ databaseUrl: app.databaseUrl, settings: { stripe: app.settings.stripe } });
  owner = new pg.Client({ connectionString: app.databaseUrl });
  await owner.connect();
});

afterEach(() => {
  jest.restoreAllMocks();
  control.clearFaults();
});

afterAll(async () => {
  await settled(app);
  await read();
  await expectBooksToBalance(app.dataSource);
  await owner.end();
  await other.close();
  await app.close();
});

const paid = (): Promise<OpenTopUp> => paidTopUp(app);
const read = (process: TestApp = app): Promise<void> => process.app.get(StripeBalanceJob).run();

type Legs = Readonly<Record<string, number>>;

/** The rows of the platform's book, in cents by kind, since `from`. */
async function bookedSince(from: number): Promise<Legs> {
  const rows = await app.dataSource.query<{ kind: string; cents: number }[]>(
    `SELECT kind, (sum(amount_micros) / 10000)::int AS cents FROM transfers
      WHERE account_id = 'acct_platform' AND seq > $1 GROUP BY kind`,
    [from],
  );
  return Object.fromEntries(rows.map(({ kind, cents }) => [kind, cents]));
}

async function length(): Promise<number> {
  const [row] = await app.dataSource.query<{ seq: number }[]>(
    `SELECT coalesce(max(seq), 0)::int AS seq FROM transfers WHERE account_id = 'acct_platform'`,
  );
  return row?.seq ?? 0;
}

async function bookedBy(act: () => Promise<unknown>): Promise<Legs> {
  await read();
  const before = await length();
  await act();
  await settled(app);
  await read();
  return bookedSince(before);
}

/** What all books together say of our money at Stripe, in cents. */
async function clearing(): Promise<number> {
  const [row] = await app.dataSource.query<{ cents: number }[]>(
    `SELECT (coalesce(sum(CASE WHEN debit_account = 'stripe_clearing' THEN amount_micros ELSE -amount_micros END), 0) / 10000)::int AS cents
       FROM transfers WHERE 'stripe_clearing' IN (debit_account, credit_account)`,
  );
  return row?.cents ?? 0;
}

async function balanceAtStripe(): Promise<number> {
  const [row] = await app.dataSource.query<{ cents: number }[]>(
    'SELECT coalesce(sum(net_cents), 0)::int AS cents FROM stripe_balance_transactions',
  );
  return row?.cents ?? 0;
}

describe('the platform book', () => {
  it('holds what Stripe kept of a payment, once, however often it is read and by two processes at once', async () => {
    const booked = await bookedBy(async () => {
      await paid();
      await Promise.all([read(), read(other), read(), read(other)]);
      await read(other);
    });
    expect(booked).toEqual({ processor_fee: CHARGE_FEE });
    expect(await clearing()).toBe(await balanceAtStripe());
  });

  it('holds no fee for a refund and its failure: Stripe keeps that of the charge', async () => {
    const topUp = await paid();
    const booked = await bookedBy(async () => {
      (await topUp.customer.client.post(`/v1/top_ups/${topUp.id}/refund`, {})).expect(200);
      await control.failRefund(await refundIdOf(app, topUp));
    });
    expect(booked).toEqual({});
    expect(await clearing()).toBe(await balanceAtStripe());
  });

  it('holds the fee of a dispute, and keeps it when the dispute is won', async () => {
    const topUp = await paid();
    const charge = await chargeIdOf(app, topUp);
    const booked = await bookedBy(async () => {
      const dispute = await control.createDispute({ charge, reason: 'fraudulent' });
      await settled(app);
      await control.moveDispute(dispute.id, 'won');
    });
    expect(booked).toEqual({ processor_fee: DISPUTE_FEE });
    expect(await clearing()).toBe(await balanceAtStripe());
  });

  it('holds a payout, and takes it back when it fails after it was paid', async () => {
    await paid();
    await read();
    const balance = await clearing();
    expect(balance).toBeGreaterThan(0);
    let payoutId = '';
    expect(await bookedBy(async () => (payoutId = (await control.payOut()).id))).toEqual({ payout: balance });
    expect(await clearing()).toBe(0);
    expect(await bookedBy(async () => control.failPayout(payoutId))).toEqual({ payout_return: balance });
    expect(await clearing()).toBe(balance);
  });

  it('takes a negative payout from the bank', async () => {
    await control.payOut();
    const topUp = await paid();
    await settled(app);
    await control.payOut();
    const charge = await chargeIdOf(app, topUp);
    const booked = await bookedBy(async () => {
      await control.createDispute({ charge, reason: 'fraudulent' });
      await settled(app);
      await control.payOut();
    });
    expect(booked).toEqual({ processor_fee: DISPUTE_FEE, payout_return: 1_050 + DISPUTE_FEE });
    expect(await clearing()).toBe(0);
  });

  it('is filled by hints, and by none of them alone: without a single event it ends the same', async () => {
    const hinted = await waitingJobs();
    await paid();
    expect(await waitingJobs()).toBeGreaterThanOrEqual(Math.max(1, hinted));
    const booked = await bookedBy(async () => {
      control.setWebhookFaults({ loseEvents: true });
      const topUp = await startTopUp(app);
      await control.pay(topUp.sessionId);
      control.clearFaults();
    });
    expect(booked).toEqual({ processor_fee: CHARGE_FEE });
    await app.app.get(StripeGapFillService).fill(Date.now());
  });
});

async function waitingJobs(): Promise<number> {
  const [row] = await owner
    .query<{ waiting: number }>(
      `SELECT count(*)::int AS waiting FROM graphile_worker.jobs WHERE task_identifier = 'stripe_balance'`,
    )
    .then(({ rows }) => rows);
  return row?.waiting ?? 0;
}

describe('the entry point to the platform book', () => {
  const leg = { kind: 'processor_fee', amountMicros: micros(10_000n) } as const;
  const booking = (accountId: string, reference: string, legs: readonly (typeof leg)[]) =>
    app.app.get(WalletEngine).execute({
      type: 'book',
      accountId,
      actor: 'test',
      reference,
      fingerprint: JSON.stringify(legs, (_name, value: unknown) => String(value)),
      memo: null,
      legs,
    });

  it('is closed to customers’ commands, and customers’ books to its own', async () => {
    const { accountId } = await app.createCustomer();
    await expect(booking(accountId, 'wrong-book', [leg])).rejects.toMatchObject({ code: 'resource_missing' });
    const debit = { account: 'acct_platform', reference: 'wrong-book', amount_micros: '40000' };
    (await app.operator.post('/v1/debits', debit)).expect(404);
  });

  it('takes no booking without an amount', async () => {
    const nothing = { ...leg, amountMicros: micros(0n) };
    for (const legs of [[], [nothing], [leg, nothing]]) {
      await expect(booking('acct_platform', 'no-amount', legs)).rejects.toMatchObject({
        code: 'invalid_amount',
      });
    }
  });
});

describe('the lock of the platform book', () => {
  it('is locked by somebody else for as long as it takes, and customers’ calls go on', async () => {
    await read();
    // Both processes look at hints every 15 seconds: booked by such a look, there would be nothing to wait for.
    for (const { app: process } of [app, other]) {
      jest.spyOn(process.get(StripeBalanceJob), 'run').mockResolvedValue(undefined);
    }
    const topUp = await paid();
    await app.app.get(BalanceReaderService).read();
    const seen: string[] = [];
    // Postgres shows who waits for what only to the role that owns the database, and once per tx.
    const locker = new pg.Client({ connectionString: app.databaseUrl });
    await locker.connect();
    try {
      await locker.query('BEGIN');
      await locker.query(`SELECT 1 FROM wallets WHERE account_id = 'acct_platform' FOR UPDATE`);
      const booking = app.app
        .get(PlatformBookService)
        .bookAll()
        .then(() => seen.push('booked'));
      const waits = `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`;
      await eventually('the booking waits', async () => (await owner.query(waits)).rowCount === 1);
      const body = { account: topUp.customer.accountId, amount_micros: '40000' };
      for (const reference of ['one', 'two', 'three']) {
        (await app.operator.post('/v1/debits', { ...body, reference })).expect(201);
        seen.push('debited');
      }
      await locker.query('COMMIT');
      await booking;
    } finally {
      await locker.end();
    }
    expect(seen).toEqual(['debited', 'debited', 'debited', 'booked']);
  });
});

describe('a run that ends too early', () => {
  it('books once when it is cut off between the ledger and the row', async () => {
    const booked = await bookedBy(async () => {
      await paid();
      await app.app.get(BalanceReaderService).read();
      const engine = app.app.get(WalletEngine);
      const execute = engine.execute.bind(engine);
      jest.spyOn(engine, 'execute').mockImplementation(async (command) => {
        const outcome = await execute(command);
        if (command.type === 'book') throw new Error('killed after the commit');
        return outcome;
      });
      await expect(app.app.get(PlatformBookService).bookAll()).rejects.toThrow('killed after the commit');
      jest.restoreAllMocks();
    });
    expect(booked).toEqual({ processor_fee: CHARGE_FEE });
  });

  it('leaves nothing out when it is cut off between two pages, nor when Stripe has forgotten the cursor', async () => {
    const booked = await bookedBy(async () => {
      await paid();
      await paid();
      await paid();
      pagesOfOne({ failAtPage: 2 });
      await expect(app.app.get(BalanceReaderService).read()).rejects.toThrow('Stripe hung up');
      jest.restoreAllMocks();
      await owner.query(`UPDATE stripe_balance_cursors SET after_id = 'txn_of_another_account'`);
    });
    expect(booked).toEqual({ processor_fee: 3 * CHARGE_FEE });
  });
});

/** Stripe's list in pages of one, as if there were more than there is. */
function pagesOfOne({ failAtPage }: { failAtPage: number }): void {
  const list = app.app.get(StripeBalanceList);
  const page = list.page.bind(list);
  let pages = 0;
  jest.spyOn(list, 'page').mockImplementation(async (request) => {
    pages += 1;
    if (pages === failAtPage) throw new Error('Stripe hung up');
    const whole = await page(request);
    const [first] = whole.items;
    const more = whole.items.length > 1 || whole.nextAfterId !== null;
    return {
      ...whole,
      items: first === undefined ? [] : [first],
      nextAfterId: more ? (first?.id ?? null) : null,
    };
  });
}
