import { expect } from '@jest/globals';
import { expectBooksToBalance } from './invariants.js';
import { eventually } from './processes.js';
import { tryFailedJobsAgain } from '../fixtures/jobs.js';
import type { TestApp, TestCustomer } from './test-app.js';

export type OpenTopUp = {
  readonly id: string;
  readonly sessionId: string;
  readonly customer: TestCustomer;
};

/** A customer with an open payment page for $10.00 of credit: $10.50. */
export async function startTopUp(
  app: TestApp,
  request: Readonly<Record<string, unknown>> = {},
): Promise<OpenTopUp> {
  const customer = await app.createCustomer();
  const answer = await customer.client.post('/v1/top_ups', { credit_cents: 1_000, ...request });
  const { id, checkout_url: url } = answer.expect(201).body as { id: string; checkout_url: string };
  return { id, sessionId: sessionIdOf(url), customer };
}

export function sessionIdOf(checkoutUrl: string): string {
  return checkoutUrl.split('/').at(-1) ?? '';
}

/** Resolves when every event is delivered and worked off. Jobs that failed are tried again at once. */
export async function settled(app: TestApp): Promise<void> {
  await app.stripe?.control.whenDelivered();
  await eventually('no event waits', async () => {
    await tryFailedJobsAgain(app.dataSource);
    const rows = await app.dataSource.query<unknown[]>(
      'SELECT FROM stripe_events WHERE processed_at IS NULL',
    );
    return rows.length === 0;
  });
}

export async function statusOf(app: TestApp, { id }: Pick<OpenTopUp, 'id'>): Promise<string | undefined> {
  const rows = await app.dataSource.query<{ status: string }[]>('SELECT status FROM top_ups WHERE id = $1', [
    id,
  ]);
  return rows[0]?.status;
}

type Amounts = { readonly credit: bigint; readonly fee: bigint };
const TEN_DOLLARS: Amounts = { credit: 10_000_000n, fee: 500_000n };

/** The ledger has the two rows of this one payment and no other, the wallet and the lot agree, the row says paid. */
export async function expectCreditedOnce(
  app: TestApp,
  { id, customer }: OpenTopUp,
  { credit, fee }: Amounts = TEN_DOLLARS,
): Promise<void> {
  const { accountId } = customer;
  const [row] = await app.dataSource.query<Record<string, unknown>[]>(
    'SELECT status, lot_id, paid_at IS NOT NULL AS has_time, failure_code FROM top_ups WHERE id = $1',
    [id],
  );
  expect(row).toMatchObject({ status: 'paid', has_time: true, failure_code: null });
  const lotId = row?.['lot_id'];
  expect(await transfersOf(app, accountId)).toEqual([
    {
      seq: '1',
      kind: 'top_up',
      debit_account: 'stripe_clearing',
      credit_account: 'customer_credit',
      amount_micros: String(credit),
      posted_after_micros: String(credit),
      lot_id: lotId,
      reference: `top_up:${id}`,
      leg: 0,
      actor: 'stripe',
    },
    {
      seq: '2',
      kind: 'top_up_fee',
      debit_account: 'stripe_clearing',
      credit_account: 'platform_fee_revenue',
      amount_micros: String(fee),
      posted_after_micros: String(credit),
      lot_id: null,
      reference: `top_up:${id}`,
      leg: 1,
      actor: 'stripe',
    },
  ]);
  expect(await walletOf(app, accountId)).toEqual({
    posted: String(credit),
    held: '0',
    debt: '0',
    lots: [{ id: lotId, kind: 'paid', remaining: String(credit) }],
  });
  await expectBooksToBalance(app.dataSource);
}

/** No transfer, no lot, no cent in the wallet. */
export async function expectNothingCredited(app: TestApp, { customer }: OpenTopUp): Promise<void> {
  expect(await transfersOf(app, customer.accountId)).toEqual([]);
  const wallet = await walletOf(app, customer.accountId);
  expect(wallet ?? { posted: '0', held: '0', debt: '0', lots: [] }).toEqual({
    posted: '0',
    held: '0',
    debt: '0',
    lots: [],
  });
  await expectBooksToBalance(app.dataSource);
}

function transfersOf(app: TestApp, accountId: string): Promise<Record<string, unknown>[]> {
  return app.dataSource.query(
    `SELECT seq, kind, debit_account, credit_account, amount_micros, posted_after_micros, lot_id, reference, leg, actor
       FROM transfers WHERE account_id = $1 ORDER BY seq`,
    [accountId],
  );
}

async function walletOf(app: TestApp, accountId: string): Promise<Record<string, unknown> | undefined> {
  const [row] = await app.dataSource.query<Record<string, unknown>[]>(
    `SELECT posted_micros AS posted, held_micros AS held, debt_micros AS debt,
            coalesce((SELECT json_agg(json_build_object('id', id, 'kind', kind, 'remaining', remaining_micros::text))
                        FROM credit_lots l WHERE l.account_id = w.account_id), '[]') AS lots
       FROM wallets w WHERE account_id = $1`,
    [accountId],
  );
  return row;
}
