import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { beginHistory, type ReturnHistory } from '../support/payments/return-history.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterAll(() => expectBooksToBalance(app.dataSource));

const begin = (): Promise<ReturnHistory> => beginHistory(app, app.control);

async function adjust({ accountId }: ReturnHistory, amountMicros: string): Promise<void> {
  const body = { amount_micros: amountMicros, reason: 'Goodwill for the outage of 3 May' };
  (await app.operator.post(`/v1/accounts/${accountId}/adjustments`, body)).expect(201);
}

async function lots({ accountId }: ReturnHistory): Promise<unknown[]> {
  return app.dataSource.query(
    `SELECT source, refundable, remaining_micros AS left FROM credit_lots
      WHERE account_id = $1 AND live ORDER BY created_at, id`,
    [accountId],
  );
}

describe('goodwill', () => {
  it('is never paid out to a card when the bought credit is spent', async () => {
    const history = await begin();
    await history.take(['spend', 1_000]);
    await adjust(history, '10000000');
    await history.take(['refund', 'all', 'refund_exceeds_credit']);
    await history.take(['refund', 1, 'refund_exceeds_credit']);
    expect(await history.left()).toMatchObject({ available: 1_000 });
    expect(await lots(history)).toEqual([{ source: 'adjustment', refundable: false, left: '10000000' }]);
  });

  it('stays when the credit next to it is refunded, however the two are mixed', async () => {
    const history = await begin();
    await adjust(history, '5000000');
    await history.take(['spend', 400]);
    await history.take(['refund', 'all']);
    expect(await history.left()).toMatchObject({ available: 500, legs: { refund: 600, refund_fee: 30 } });
    expect(await lots(history)).toEqual([{ source: 'adjustment', refundable: false, left: '5000000' }]);
  });

  it('is not taken by a dispute, so that it is still goodwill when the dispute is won', async () => {
    const history = await begin();
    await history.take(['spend', 1_000]);
    await adjust(history, '10000000');
    await history.take(['dispute', 'needs_response']);
    expect(await lots(history)).toEqual([{ source: 'adjustment', refundable: false, left: '10000000' }]);
    await history.take(['becomes', 'won']);
    expect(await history.left()).toMatchObject({ available: 1_000 });
    await history.take(['refund', 'all', 'refund_exceeds_credit']);
  });

  it('that paid a debt is not refunded either when the disputed money comes back', async () => {
    const history = await begin();
    await history.take(['spend', 1_000]);
    await history.take(['dispute', 'needs_response']);
    await adjust(history, '10000000');
    await history.take(['becomes', 'won']);
    expect(await history.left()).toMatchObject({ available: 1_000, debt: 0 });
    await history.take(['refund', 'all', 'refund_exceeds_credit']);
  });
});

describe('bought credit that came back', () => {
  it('can be refunded as before, as much of it as was not spent', async () => {
    const history = await begin();
    await history.take(['spend', 400]);
    await history.take(['dispute', 'needs_response']);
    await history.take(['becomes', 'won']);
    await history.take(['refund', 601, 'refund_exceeds_credit']);
    await history.take(['refund', 600]);
    expect(await history.left()).toMatchObject({ available: 0 });
  });
});

describe('the database', () => {
  let owner: DataSource;

  beforeAll(async () => {
    owner = await new DataSource({ type: 'postgres', url: app.databaseUrl }).initialize();
  });
  afterAll(() => owner.destroy());

  it.each([
    ['goodwill', 'adjustment', 'paid'],
    ['promotional credit', 'grant', 'promotional'],
    ['a write-off', 'write_off', 'paid'],
  ])('never lets %s be refundable', async (_what, source, kind) => {
    const history = await begin();
    const insert = owner.query(
      `INSERT INTO credit_lots (account_id, id, kind, source, granted_micros, remaining_micros, created_at, refundable)
       VALUES ($1, 'lot_x', $2, $3, 1, 0, now(), true)`,
      [history.accountId, kind, source],
    );
    await expect(insert).rejects.toMatchObject({
      driverError: { constraint: 'credit_lots_refundable_is_bought' },
    });
    const change = owner.query('UPDATE credit_lots SET refundable = NOT refundable WHERE account_id = $1', [
      history.accountId,
    ]);
    await expect(change).rejects.toMatchObject({
      driverError: { constraint: 'credit_lots_refundable_fixed' },
    });
  });
});
