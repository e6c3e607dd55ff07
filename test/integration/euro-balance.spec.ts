import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { StripeBalanceJob } from '../../src/finance/reconciliation/stripe-balance.job.js';
import type { SandboxStripeControl } from 'coffer-sandbox/stripe/control';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import { disputeInEuros } from '../support/payments/euro-dispute.js';
import { beginHistory } from '../support/payments/return-history.js';

let app: TestApp;
let control: SandboxStripeControl;

// Its own, because it leaves money that the doctor names.
beforeAll(async () => {
  app = await startTestApp({ stripe: true });
  if (app.stripe === null) throw new Error('this test needs the sandbox');
  control = app.stripe.control;
});
afterEach(() => control.clearFaults());
afterAll(() => app.close());

const isNamed = async (id: string): Promise<boolean> =>
  (await findDiscrepancies(app.dataSource)).some(({ key }) => key.includes(id));

const settle = (id: string, body: Record<string, unknown>) =>
  app.operator.post(`/v1/stripe_balance_transactions/${id}/settle`, body);

describe('a dispute that takes money out of a balance in another currency', () => {
  it('freezes the wallet once: what an operator lifted stays lifted, whatever else is reported of it', async () => {
    const { history } = await disputeInEuros(app, control);
    expect(await history.left()).toMatchObject({ status: 'frozen', available: 1_000 });
    await history.take(['unfreeze']);
    await history.take(['becomes', 'under_review']);
    expect(await history.left()).toMatchObject({ status: 'active', available: 1_000 });
  });

  it('is named by the doctor until an operator says by what it was settled, and why', async () => {
    const { history, balanceTransactionId: id } = await disputeInEuros(app, control);
    const { accountId } = history;
    expect(await isNamed(id)).toBe(true);
    const correction = { amount_micros: '-9000000', reason: 'disputed in euros' };
    (await app.operator.post(`/v1/accounts/${accountId}/adjustments`, correction)).expect(201);
    const rows = await app.dataSource.query<{ reference: string }[]>(
      `SELECT reference FROM transfers WHERE account_id = $1 AND kind = 'adjustment'`,
      [accountId],
    );
    const settled_by = rows[0]?.reference;
    const decision = { settled_by, reason: 'taken for the dispute' };
    const answer = (await settle(id, decision)).expect(200).body;
    expect(answer).toMatchObject({ balance_transaction: id, account: accountId, ...decision });
    expect(await isNamed(id)).toBe(false);
    // The same one again is the one that is kept; another one is kept after it.
    expect((await settle(id, decision)).expect(200).body).toEqual(answer);
    (await settle(id, { reason: 'won after all' })).expect(200);
    const kept = await app.dataSource.query<unknown[]>(
      'SELECT number, settled_by, reason FROM stripe_balance_settlements WHERE balance_transaction_id = $1 ORDER BY number',
      [id],
    );
    expect(kept).toEqual([
      { number: 1, ...decision },
      { number: 2, settled_by: null, reason: 'won after all' },
    ]);
    expect(await isNamed(id)).toBe(false);
    expect((await history.left()).legs).toEqual({ top_up: 1_000, top_up_fee: 50, adjustment: 900 });
  });

  it('is settled by nothing that is not in the book of the account, and what a book has is not settled at all', async () => {
    const { balanceTransactionId: id } = await disputeInEuros(app, control);
    const unknown = await settle(id, { settled_by: 'debit:nothing', reason: 'checked' });
    expect(unknown.expect(400).body.error).toMatchObject({ code: 'invalid_request', param: 'settled_by' });
    expect(await isNamed(id)).toBe(true);
    (await settle('txn_unknown', { reason: 'checked' })).expect(404);
    const booked = await beginHistory(app, control);
    await booked.take(['dispute', 'needs_response']);
    const [movement] = await app.dataSource.query<{ id: string }[]>(
      'SELECT balance_transaction_id AS id FROM dispute_movements WHERE account_id = $1',
      [booked.accountId],
    );
    await app.app.get(StripeBalanceJob).run();
    (await settle(movement?.id ?? '', { reason: 'checked' })).expect(400);
  });
});
