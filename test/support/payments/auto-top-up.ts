import { expect } from '@jest/globals';
import { OFF_SESSION_PAYMENTS } from '../../../src/payments/stripe/off-session-payments.js';
import type { OffSessionPayments } from '../../../src/payments/stripe/off-session-payments.js';
import { AUTO_TOP_UP_WORDS } from '../../../src/payments/auto-top-ups/auto-top-up.js';
import { eventually } from '../processes.js';
import type { TestApp, TestCustomer } from '../app/test-app.js';
import { sessionIdOf, settled } from '../../fixtures/top-up-books.js';

/** Below $5.00 the card pays $21.00 for $20.00, at most three times a day. */
export const OPT_IN = {
  enabled: true,
  threshold_micros: '5000000',
  credit_cents: 2_000,
  daily_max_count: 3,
  daily_max_charge_cents: 6_300,
  monthly_max_count: 30,
  monthly_max_charge_cents: 63_000,
  cooldown_seconds: 60,
  words_version: AUTO_TOP_UP_WORDS.version,
};

export type CardCustomer = TestCustomer & {
  /** Stripe's ids. */
  readonly paymentMethodId: string;
  readonly customerId: string;
};

/** A customer who bought $10.00 and let the card be saved. */
export async function customerWithCard(app: TestApp, card?: string): Promise<CardCustomer> {
  const customer = await app.createCustomer();
  const saved = await saveCard(app, customer, card);
  return { ...customer, ...saved };
}

/** Pays $10.50 on a payment page that saves the card. */
export async function saveCard(
  app: TestApp,
  { accountId, client }: TestCustomer,
  card?: string,
): Promise<{ readonly paymentMethodId: string; readonly customerId: string }> {
  const before = await cardsOf(app, accountId);
  const opened = await client.post('/v1/top_ups', { credit_cents: 1_000, save_card: true });
  await app.stripe?.control.pay(sessionIdOf(opened.expect(201).body.checkout_url as string), card);
  await settled(app);
  const after = await cardsOf(app, accountId);
  const added = after.find(({ id }) => before.every((known) => known.id !== id));
  if (added === undefined) throw new Error('no card was saved');
  return { paymentMethodId: added.id, customerId: added.customer_id };
}

export function cardsOf(app: TestApp, accountId: string): Promise<{ id: string; customer_id: string }[]> {
  return app.dataSource.query('SELECT id, customer_id FROM saved_cards WHERE account_id = $1', [accountId]);
}

export type ChargeRow = {
  readonly id: string;
  readonly status: string;
  readonly failure_code: string | null;
  readonly decline_code: string | null;
  readonly charge_cents: string;
  readonly payment_intent_id: string | null;
  readonly dispatched_at: Date | null;
  readonly created_at: Date;
};

/** The automatic ones, oldest first. */
export function chargesOf(app: TestApp, accountId: string): Promise<ChargeRow[]> {
  return app.dataSource.query(
    `SELECT id, status, failure_code, decline_code, charge_cents, payment_intent_id, dispatched_at, created_at
       FROM top_ups WHERE account_id = $1 AND kind = 'auto' ORDER BY created_at, id`,
    [accountId],
  );
}

let debits = 0;

/** As an outside gateway does. */
export async function spend(app: TestApp, accountId: string, micros: bigint): Promise<void> {
  debits += 1;
  const body = {
    account: accountId,
    reference: `auto-${process.pid}-${debits}`,
    amount_micros: String(micros),
  };
  (await app.operator.post('/v1/debits', body)).expect(201);
}

export async function availableOf({ client }: TestCustomer): Promise<bigint> {
  return BigInt((await client.get('/v1/wallet')).expect(200).body.available_micros as string);
}

/** Every look that is due has ended, and so has everything that it led to. */
export async function allLooked(app: TestApp): Promise<void> {
  await eventually('no look is due', async () => {
    const rows = await app.dataSource.query<unknown[]>(
      `SELECT FROM graphile_worker._private_jobs j JOIN graphile_worker._private_tasks t ON t.id = j.task_id
        WHERE t.identifier = 'auto_top_up' AND j.run_at <= now() AND j.attempts < j.max_attempts`,
    );
    return rows.length === 0;
  });
  await settled(app);
}

/** A look at this wallet has failed, and waits for its next attempt. */
export async function whenLookFailed(app: TestApp, accountId: string): Promise<void> {
  await eventually('a look fails', async () => {
    const rows = await app.dataSource.query<unknown[]>(
      `SELECT FROM graphile_worker._private_jobs
        WHERE payload ->> 'account_id' = $1 AND last_error IS NOT NULL AND locked_at IS NULL`,
      [accountId],
    );
    return rows.length > 0;
  });
}

/** When the account's wallet is looked at again; null when nothing is queued. */
export async function nextLookOf(app: TestApp, accountId: string): Promise<Date | null> {
  const [row] = await app.dataSource.query<{ run_at: Date }[]>(
    'SELECT run_at FROM graphile_worker.jobs WHERE key = $1',
    [`auto_top_up_later:${accountId}`],
  );
  return row?.run_at ?? null;
}

/** What Stripe charged this customer's card for auto top-ups, by our ids. */
export async function intentsAtStripe(app: TestApp, customer: CardCustomer, topUpIds: readonly string[]) {
  const payments = app.app.get<OffSessionPayments>(OFF_SESSION_PAYMENTS);
  const found = await Promise.all(topUpIds.map((id) => payments.find(customer.customerId, id, 0)));
  return found.map((intent) => intent?.status ?? null);
}

export async function switchOn(
  customer: TestCustomer,
  changes: Readonly<Record<string, unknown>> = {},
): Promise<Record<string, unknown>> {
  const answer = await customer.client.send('PUT', '/v1/auto_top_up', { body: { ...OPT_IN, ...changes } });
  return answer.expect(200).body;
}

export async function readAutoTopUp({ client }: TestCustomer): Promise<Record<string, unknown>> {
  const answer = await client.get('/v1/auto_top_up');
  expect(answer.status).toBe(200);
  return answer.body;
}

/**
 * The next charge need not wait for the last one any more. The charges stay on their day, which is what the caps count,
 * whatever the time of day is: moved by the whole wait, those of the first minutes of a day would lie in the day before.
 */
export async function endCooldown({ dataSource }: TestApp, accountId: string): Promise<void> {
  await dataSource.query('UPDATE auto_top_ups SET cooldown_seconds = 1 WHERE account_id = $1', [accountId]);
  await dataSource.query(
    `UPDATE top_ups SET created_at = greatest(created_at - interval '2 seconds', date_trunc('day', created_at, 'UTC'))
      WHERE account_id = $1 AND kind = 'auto'`,
    [accountId],
  );
}
