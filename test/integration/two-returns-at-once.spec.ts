import { afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { settled } from '../fixtures/top-up-books.js';
import { DisputedPayments } from '../support/payments/disputed-payments.js';

let app: SharedShop;

beforeAll(async () => {
  app = await sharedShop();
});
afterEach(() => expectBooksToBalance(app.dataSource));

async function start(): Promise<DisputedPayments> {
  const wallet = await DisputedPayments.begin(app);
  await wallet.payments[1].take(['spend', 1_000]);
  await wallet.dispute('A', 0);
  await wallet.dispute('B', 0);
  return wallet;
}
async function give(accountId: string): Promise<void> {
  (
    await app.operator.post(`/v1/accounts/${accountId}/adjustments`, {
      amount_micros: '10000000',
      reason: 'Goodwill',
    })
  ).expect(201);
}
async function lotsOf(wallet: DisputedPayments): Promise<unknown[]> {
  return app.dataSource.query(
    `SELECT refundable, remaining_micros FROM credit_lots WHERE account_id=$1 AND remaining_micros>0`,
    [wallet.accountId],
  );
}
describe('two returns of one payment that Stripe reports at the same moment', () => {
  it('leave goodwill that paid the debt off the card', async () => {
    const wallet = await start();
    await give(wallet.accountId);
    await Promise.all([wallet.begin('A', ['becomes', 'won']), wallet.begin('B', ['becomes', 'won'])]);
    await settled(app);
    expect(await lotsOf(wallet)).toEqual([{ refundable: false, remaining_micros: '10000000' }]);
  });
  it('owe again what was written off for a dispute of another payment', async () => {
    const wallet = await DisputedPayments.begin(app);
    await wallet.dispute('C', 1, 'lost');
    await wallet.dispute('A', 0);
    await wallet.dispute('B', 0);
    await wallet.writeOff('C');
    await Promise.all([wallet.begin('A', ['becomes', 'won']), wallet.begin('B', ['becomes', 'won'])]);
    await settled(app);
    expect(await wallet.left()).toEqual({ available: 0, debt: 0, givenUp: 0 });
  });
});
