import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { StripeGapFillService } from '../../src/payments/stripe/gap-fill/stripe-gap-fill.service.js';
import { RefundSweepJob } from '../../src/payments/refunds/refund-sweep.job.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { eventually } from '../support/processes.js';
import { settled } from '../fixtures/top-up-books.js';
import { clearing } from '../support/payments/clearing.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterEach(() => {
  jest.restoreAllMocks();
});
afterAll(() => expectBooksToBalance(app.dataSource));

const begin = (): Promise<ReturnHistory> => beginHistory(app, app.control);

async function disputeOf({ accountId }: ReturnHistory): Promise<Record<string, unknown>> {
  const answer = await app.operator.get(`/v1/accounts/${accountId}/disputes`);
  return (answer.expect(200).body.data as Record<string, unknown>[])[0] ?? {};
}

describe('a dispute of more than is left of its payment', () => {
  it('is booked at once: what Stripe took beyond it is a loss, and stripe_clearing says what Stripe says', async () => {
    const history = await begin();
    await history.take(['refund', 'all']);
    await history.take(['dispute', 'needs_response']);
    expect(await history.left()).toEqual({
      legs: { top_up: 1_000, top_up_fee: 50, refund: 1_000, refund_fee: 50, dispute_excess: 1_050 },
      available: 0,
      debt: 0,
      status: 'frozen',
    });
    expect(await disputeOf(history)).toMatchObject({
      status: 'needs_response',
      credit_micros: '0',
      excess_micros: '10500000',
      withdrawn_at: expect.any(Number),
    });
    expect(await clearing(app, history)).toEqual({ booked: -1_050, reported: -1_050 });
  });

  it('takes what is left as credit, and is reversed in both parts when it is won', async () => {
    const history = await begin();
    await history.take(['refund', 500]);
    await history.take(['dispute', 'needs_response', 1_050]);
    expect(await history.left()).toMatchObject({
      legs: { dispute: 500, dispute_fee: 25, dispute_excess: 525 },
      available: 0,
    });
    await history.take(['becomes', 'won']);
    expect(await history.left()).toMatchObject({
      legs: { reinstatement: 500, reinstatement_fee: 25, reinstatement_excess: 525 },
      available: 500,
      status: 'active',
    });
    expect(await clearing(app, history)).toEqual({ booked: 525, reported: 525 });
  });
});

describe("a refund made in Stripe's dashboard of credit that is spent", () => {
  const wallet = async ({ accountId }: ReturnHistory): Promise<Record<string, unknown>> =>
    (await app.operator.get(`/v1/accounts/${accountId}/wallet`)).expect(200).body;

  /** $9.00 of $10.00 are spent. */
  async function spent(): Promise<ReturnHistory> {
    const history = await begin();
    await history.take(['spend', 900]);
    return history;
  }

  it('takes what is there, and the rest is owed by a frozen wallet until an operator writes it off', async () => {
    const history = await spent();
    await history.take(['refund_elsewhere', 525]);
    expect(await history.left()).toMatchObject({
      legs: { refund: 500, refund_fee: 25 },
      available: -400,
      debt: 400,
      status: 'frozen',
    });
    expect(await clearing(app, history)).toEqual({ booked: 525, reported: 525 });
    const account = `/v1/accounts/${history.accountId}`;
    const freezes = (await app.operator.get(`${account}/freezes`)).expect(200).body.data;
    expect(freezes).toMatchObject([{ source: 'refund', lifted_at: null }]);
    const [{ source_id: id = '' } = {}] = freezes as { source_id?: string }[];
    await history.take(['unfreeze', 'wallet_in_debt']);
    for (let time = 1; time <= 2; time += 1) {
      const headers = { 'idempotency-key': 'decision-1' };
      const answer = await app.operator.post(`${account}/refunds/${id}/write_off`, {}, headers);
      expect(answer.expect(200).body).toEqual({ object: 'write_off', refund: id, amount_micros: '4000000' });
    }
    await history.take(['unfreeze']);
    expect(await wallet(history)).toMatchObject({
      status: 'active',
      available_micros: '0',
      debt_micros: '0',
    });
  });

  it('gives it back and lifts its own freeze when the bank returns it, and what was written off is owed first', async () => {
    const history = await spent();
    await history.take(['refund_elsewhere', 525]);
    const [row] = await app.dataSource.query<{ id: string }[]>(
      'SELECT id FROM refunds WHERE account_id = $1',
      [history.accountId],
    );
    const route = `/v1/accounts/${history.accountId}/refunds/${row?.id}/write_off`;
    (await app.operator.post(route, {})).expect(200);
    await history.take(['refund_fails']);
    expect(await history.left()).toMatchObject({
      legs: { write_off: 400, write_off_reversal: 400, reinstatement: 500, reinstatement_fee: 25 },
      available: 100,
      debt: 0,
      status: 'active',
    });
  });

  it('that is heard of after a bank took the whole payment shows what went beyond it apart from its credit', async () => {
    const history = await begin();
    app.control.setWebhookFaults({ loseEvents: true });
    await history.begin(['refund_elsewhere', 525]);
    app.control.clearFaults();
    await history.take(['dispute', 'needs_response', 1_050]);
    await app.app.get(StripeGapFillService).fill(Date.now() + 2_000); // Stripe counts in whole seconds.
    await settled(app);
    const rows = await app.dataSource.query<{ id: string }[]>(
      'SELECT id FROM top_ups WHERE account_id = $1',
      [history.accountId],
    );
    const route = `/v1/accounts/${history.accountId}/top_ups/${rows[0]?.id}/refunds`;
    expect((await app.operator.get(route)).expect(200).body.data).toMatchObject([
      {
        status: 'succeeded',
        credit_micros: '0',
        fee_micros: '0',
        excess_micros: '5250000',
        amount_cents: 525,
      },
    ]);
    expect(await clearing(app, history)).toEqual({ booked: -525, reported: -525 });
  });

  it('that an earlier release left waiting is named by the doctor at once, and the job goes on with it', async () => {
    const history = await spent();
    const { accountId } = history;
    const engine = app.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    jest
      .spyOn(engine, 'execute')
      .mockImplementation((command) =>
        command.type === 'reverseCredit' && command.accountId === accountId
          ? Promise.reject(new Error('away'))
          : execute(command),
      );
    await history.begin(['refund_elsewhere', 525]);
    const wait = `UPDATE refunds SET status = 'needs_review', failure_code = 'insufficient_credits', checked_at = '2020-01-01',
                         stripe_refund_id = fingerprint WHERE account_id = $1 AND status = 'created'`;
    await eventually('the row waits', async () => {
      const [, affected] = await app.dataSource.query<[unknown, number]>(wait, [accountId]);
      return affected === 1;
    });
    const named = (await findDiscrepancies(app.dataSource)).map(({ table, key }) => `${table} ${key}`);
    expect(named).toContainEqual(expect.stringContaining(`refunds account_id=${accountId}`));
    jest.restoreAllMocks();
    await app.app.get(RefundSweepJob).run();
    await settled(app);
    expect(await history.left()).toMatchObject({
      legs: { refund: 500, refund_fee: 25 },
      debt: 400,
      status: 'frozen',
    });
  });
});
