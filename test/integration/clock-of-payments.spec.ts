import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { AutoTopUpChargesService } from '../../src/payments/auto-top-ups/auto-top-up-charges.service.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { settled, startTopUp } from '../fixtures/top-up-books.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import {
  allLooked,
  availableOf,
  chargesOf,
  customerWithCard,
  spend,
  switchOn,
} from '../support/payments/auto-top-up.js';
import { eventually } from '../support/processes.js';

const DAY_MS = 24 * 60 * 60_000;

let shop: SharedShop;
/** Another process of it, whose machine's clock is wrong. */
let wrong: TestApp;
beforeAll(async () => {
  shop = await sharedShop();
  const { masterKeys, dataDir, stripe, operatorKey } = shop.settings;
  wrong = await startTestApp({
    databaseUrl: shop.databaseUrl,
    settings: { masterKeys, dataDir, stripe, operatorKey },
  });
});
beforeEach(() => {
  wrong.clock.wrongByMs = 1.1 * DAY_MS;
});
afterEach(() => allLooked(shop));
afterAll(async () => {
  await wrong.close();
  await expectBooksToBalance(shop.dataSource);
});

describe('a process whose clock is a day ahead', () => {
  it('charges no card for a second day, nor for a second month', async () => {
    const customer = await customerWithCard(shop);
    await switchOn(customer, { daily_max_count: 1, monthly_max_count: 1 });
    await spend(shop, customer.accountId, 5_000_001n);
    await eventually('the wallet is refilled', async () => (await availableOf(customer)) > 20_000_000n);
    await spend(shop, customer.accountId, 20_000_000n);
    await allLooked(shop);
    for (const days of [1.1, 32]) {
      wrong.clock.wrongByMs = days * DAY_MS;
      await wrong.app.get(AutoTopUpChargesService).check(customer.accountId);
    }
    expect(await chargesOf(shop, customer.accountId)).toHaveLength(1);
  });

  it('sells no more to a new customer than the first day allows', async () => {
    const { customer, sessionId } = await startTopUp(shop, { credit_cents: 1_000 });
    await shop.control.pay(sessionId);
    await settled(shop);
    const buy = (at: TestApp) => at.client(customer.apiKey).post('/v1/top_ups', { credit_cents: 1_000 });
    let answer = await buy(shop);
    while (answer.status === 201) answer = await buy(shop);
    const refused = await buy(wrong);
    expect(refused.status).toBe(answer.status);
    expect(refused.body.error.code).toBe(answer.body.error.code);
  });

  it('gives back what was bought within the window for refunds', async () => {
    const { customer, id, sessionId } = await startTopUp(shop, { credit_cents: 1_000 });
    await shop.control.pay(sessionId);
    await settled(shop);
    wrong.clock.wrongByMs = 1_000 * DAY_MS;
    const made = await wrong.client(customer.apiKey).post(`/v1/top_ups/${id}/refund`, {});
    expect(made.body.error).toBeUndefined();
    expect(made.body).toMatchObject({ object: 'refund' });
    await settled(shop);
  });
});
