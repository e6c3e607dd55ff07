import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { DatabaseUnavailableError } from '../../src/problems/common.errors.js';
import { WalletEngine } from '../../src/wallets/wallet-engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterEach(() => {
  jest.restoreAllMocks();
});
afterAll(() => expectBooksToBalance(app.dataSource));

/** A customer who spent all of $10.00, and whose bank took the payment back: $10.00 are owed. */
async function inDebt(): Promise<ReturnHistory> {
  const history = await beginHistory(app, app.control);
  await history.take(['spend', 1_000]);
  await history.take(['dispute', 'lost']);
  return history;
}

const writeOff = ({ accountId, disputeId }: ReturnHistory) =>
  app.operator.post(`/v1/accounts/${accountId}/disputes/${disputeId}/write_off`, {});

/** Posted credit, debt, and all that was ever written off. */
async function standing({ accountId }: ReturnHistory): Promise<Record<string, unknown>> {
  const [row] = await app.dataSource.query<Record<string, unknown>[]>(
    `SELECT posted_micros AS posted, debt_micros AS debt,
            (SELECT coalesce(sum(amount_micros), 0) FROM transfers t
              WHERE t.account_id = w.account_id AND t.kind = 'write_off') AS given_up
       FROM wallets w WHERE account_id = $1`,
    [accountId],
  );
  return row ?? {};
}

describe('a write-off', () => {
  it('never gives credit away: two at once give up the debt once, and both say how much', async () => {
    const history = await inDebt();
    const answers = await Promise.all([writeOff(history), writeOff(history), writeOff(history)]);
    expect(answers.map((answer) => answer.expect(200).body.amount_micros)).toEqual(
      Array.from({ length: 3 }, () => '10000000'),
    );
    expect(await standing(history)).toEqual({ posted: '0', debt: '0', given_up: '10000000' });
  });

  it('that answered 503 gives up nothing more when the debt was paid before it is sent again', async () => {
    const history = await inDebt();
    jest
      .spyOn(app.app.get(WalletEngine), 'execute')
      .mockRejectedValueOnce(new DatabaseUnavailableError(new Error('away')));
    (await writeOff(history)).expect(503);
    await history.take(['top_up', 1_000]);
    expect((await writeOff(history)).expect(200).body.amount_micros).toBe('0');
    expect(await standing(history)).toEqual({ posted: '0', debt: '0', given_up: '0' });
  });

  it('whose answer was lost answers what is recorded when it is sent again', async () => {
    const history = await inDebt();
    const engine = app.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    jest.spyOn(engine, 'execute').mockImplementationOnce(async (command) => {
      await execute(command);
      throw new DatabaseUnavailableError(new Error('the answer was lost'));
    });
    (await writeOff(history)).expect(503);
    await history.take(['top_up', 1_000]);
    expect((await writeOff(history)).expect(200).body.amount_micros).toBe('10000000');
    expect(await standing(history)).toEqual({ posted: '10000000', debt: '0', given_up: '10000000' });
    const list = await app.operator.get(`/v1/accounts/${history.accountId}/disputes`);
    expect(list.expect(200).body.data).toMatchObject([{ written_off_micros: '10000000' }]);
  });

  it('takes no more than is still owed, and opens no lot', async () => {
    const history = await inDebt();
    await history.take(['top_up', 500]);
    expect((await writeOff(history)).expect(200).body.amount_micros).toBe('5000000');
    expect(await standing(history)).toEqual({ posted: '0', debt: '0', given_up: '5000000' });
    const lots = await app.dataSource.query<unknown[]>(
      `SELECT FROM credit_lots WHERE account_id = $1 AND source = 'write_off'`,
      [history.accountId],
    );
    expect(lots).toEqual([]);
  });

  it('is owed again when the dispute is won after all, so that nobody has the credit and the debt forgiven', async () => {
    const history = await inDebt();
    (await writeOff(history)).expect(200);
    await history.take(['unfreeze']);
    for (const status of ['appeal_needs_response', 'appeal_under_review', 'won']) {
      await history.take(['becomes', status]);
    }
    expect(await history.left()).toMatchObject({ available: 0, debt: 0, status: 'active' });
    const [losses] = await app.dataSource.query<Record<string, unknown>[]>(
      `SELECT sum(CASE 'dispute_losses' WHEN debit_account THEN amount_micros WHEN credit_account THEN -amount_micros
                  ELSE 0 END) AS micros FROM transfers WHERE account_id = $1`,
      [history.accountId],
    );
    expect(losses).toEqual({ micros: '0' });
  });

  it('gives up nothing for a dispute whose money came back, although another one left a debt', async () => {
    const history = await beginHistory(app, app.control);
    await history.take(['dispute', 'won']);
    await history.take(['spend', 1_000]);
    const won = history.disputeId;
    await history.take(['dispute', 'lost']);
    const refused = await app.operator.post(
      `/v1/accounts/${history.accountId}/disputes/${won}/write_off`,
      {},
    );
    expect(refused.expect(200).body.amount_micros).toBe('0');
    expect(await standing(history)).toMatchObject({ debt: '10000000', given_up: '0' });
  });
});
