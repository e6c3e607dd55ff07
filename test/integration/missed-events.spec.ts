import { afterAll, afterEach, beforeAll, describe, it } from '@jest/globals';
import { StripeGapFillService } from '../../src/payments/stripe/gap-fill/stripe-gap-fill.service.js';
import { aCustomer } from '../fixtures/customers.js';
import { openTopUp } from '../fixtures/payments.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { expectCreditedOnce, settled } from '../fixtures/top-up-books.js';

let shop: SharedShop;
beforeAll(async () => {
  shop = await sharedShop();
});
afterEach(() => shop.control.clearFaults());
afterAll(() => expectBooksToBalance(shop.dataSource));

describe('a payment whose webhook never came', () => {
  it('is credited once by the job that lists the events at Stripe', async () => {
    const topUp = await openTopUp(await aCustomer().create(shop), '10.00');
    shop.control.setWebhookFaults({ loseEvents: true });
    await shop.control.pay(topUp.sessionId);
    await shop.app.get(StripeGapFillService).fill(Date.now() + 2_000); // Stripe counts in whole seconds.
    await settled(shop);
    await expectCreditedOnce(shop, topUp);
  });
});
