import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { DatabaseUnavailableError } from '../../src/platform/errors/common.errors.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
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

const writeOff = ({ accountId, disputeId }: ReturnHistory, key?: string) =>
  app.operator.post(
    `/v1/accounts/${accountId}/disputes/${disputeId}/write_off`,
    {},
    key === undefined ? {} : { 'idempotency-key': key },
  );

/** A call that was running when the money was taken ends, and all that it reserved is charged. */
async function captureHold({ accountId }: ReturnHistory): Promise<void> {
  const [hold] = await app.dataSource.query<{ id: string; amount: string }[]>(
    `SELECT id, amount_micros AS amount FROM holds WHERE account_id = $1 AND status = 'authorized'`,
    [accountId],
  );
  const answer = await app.operator.post(`/v1/holds/${hold?.id}/capture`, { amount_micros: hold?.amount });
  answer.expect(200);
}

/** What the list of the account's disputes says was written off. */
async function shown({ accountId }: ReturnHistory): Promise<unknown[]> {
  const { body } = (await app.operator.get(`/v1/accounts/${accountId}/disputes`)).expect(200);
  return (body.data as { written_off_micros: unknown }[]).map((dispute) => dispute.written_off_micros);
}

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
  it('never gives credit away: of several at once one gives up the debt', async () => {
    const history = await inDebt();
    const answers = await Promise.all([writeOff(history), writeOff(history), writeOff(history)]);
    const amounts = answers.map((answer) => String(answer.expect(200).body.amount_micros));
    expect(amounts.sort()).toEqual(['0', '0', '10000000']);
    expect(await standing(history)).toEqual({ posted: '0', debt: '0', given_up: '10000000' });
  });

  it('is made once with one idempotency key, however often it is sent, and all answers say how much', async () => {
    const history = await inDebt();
    const answers = await Promise.all([1, 2, 3].map(() => writeOff(history, 'decision-1')));
    expect(answers.map((answer) => answer.expect(200).body.amount_micros)).toEqual(
      Array.from({ length: 3 }, () => '10000000'),
    );
    expect(await standing(history)).toEqual({ posted: '0', debt: '0', given_up: '10000000' });
  });

  it('is refused with a key that is none, and gives up nothing', async () => {
    const history = await inDebt();
    expect((await writeOff(history, 'two words')).expect(400).body.error.code).toBe('invalid_request');
    expect(await standing(history)).toMatchObject({ debt: '10000000', given_up: '0' });
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
    expect(await shown(history)).toEqual([null]);
  });

  it('whose answer was lost answers what is recorded when it is sent again', async () => {
    const history = await inDebt();
    const engine = app.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    jest.spyOn(engine, 'execute').mockImplementationOnce(async (command) => {
      await execute(command);
      throw new DatabaseUnavailableError(new Error('the answer was lost'));
    });
    (await writeOff(history, 'decision-1')).expect(503);
    expect(await shown(history)).toEqual(['10000000']);
    await history.take(['top_up', 1_000]);
    expect((await writeOff(history, 'decision-1')).expect(200).body.amount_micros).toBe('10000000');
    expect((await writeOff(history)).expect(200).body.amount_micros).toBe('0');
    expect(await standing(history)).toEqual({ posted: '10000000', debt: '0', given_up: '10000000' });
  });

  it('may follow another one when a call that was running leaves more debt, as far as the dispute has taken its money', async () => {
    const history = await beginHistory(app, app.control);
    await history.take(['hold', 300]);
    await history.take(['spend', 700]);
    await history.take(['dispute', 'lost']);
    expect((await writeOff(history)).expect(200).body.amount_micros).toBe('7000000');
    await captureHold(history);
    expect(await standing(history)).toMatchObject({ debt: '3000000' });
    expect((await writeOff(history)).expect(200).body.amount_micros).toBe('3000000');
    expect((await writeOff(history)).expect(200).body.amount_micros).toBe('0');
    expect(await standing(history)).toEqual({ posted: '0', debt: '0', given_up: '10000000' });
    expect(await shown(history)).toEqual(['10000000']);
    await history.take(['unfreeze']);
    for (const status of ['appeal_needs_response', 'appeal_under_review', 'won']) {
      await history.take(['becomes', status]);
    }
    expect(await history.left()).toMatchObject({ available: 0, debt: 0, status: 'active' });
  });

  it('for a refund made at Stripe may follow another one in the same way', async () => {
    const history = await beginHistory(app, app.control);
    await history.take(['hold', 300]);
    await history.take(['spend', 700]);
    await history.take(['refund_elsewhere', 1_050]);
    const { body } = await history.customer.client.get(`/v1/top_ups/${history.topUpId}/refunds`);
    const path = `/v1/accounts/${history.accountId}/refunds/${body.data[0].id}/write_off`;
    const giveUp = async (key: string): Promise<unknown> => {
      const headers = { 'idempotency-key': key };
      return (await app.operator.post(path, {}, headers)).expect(200).body.amount_micros;
    };
    expect(await giveUp('first')).toBe('7000000');
    await captureHold(history);
    expect(await giveUp('first')).toBe('7000000');
    expect(await standing(history)).toMatchObject({ debt: '3000000' });
    expect(await giveUp('second')).toBe('3000000');
    expect(await standing(history)).toEqual({ posted: '0', debt: '0', given_up: '10000000' });
    await history.take(['refund_fails']);
    expect(await history.left()).toMatchObject({ available: 0, debt: 0 });
  });

  it('may follow another one that was undone because money of another dispute came back', async () => {
    const spent = await beginHistory(app, app.control);
    await spent.take(['spend', 1_000]);
    const unspent = await beginHistory(app, app.control, spent.customer);
    await spent.take(['dispute', 'lost']);
    await unspent.take(['dispute', 'lost']);
    expect((await writeOff(unspent)).expect(200).body.amount_micros).toBe('10000000');
    for (const status of ['appeal_needs_response', 'appeal_under_review', 'won']) {
      await spent.take(['becomes', status]);
    }
    expect(await standing(spent)).toMatchObject({ debt: '0' });
    await spent.take(['dispute_moves', -1_050]);
    expect(await standing(spent)).toMatchObject({ debt: '10000000' });
    expect((await writeOff(unspent)).expect(200).body.amount_micros).toBe('10000000');
    expect(await standing(spent)).toMatchObject({ debt: '0' });
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

  it('is owed again when the dispute is won after all, so that no customer keeps the credit and a forgiven debt', async () => {
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
