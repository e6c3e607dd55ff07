import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { aCustomer } from '../fixtures/customers.js';
import { payTopUp } from '../fixtures/payments.js';
import { sharedShop, type SharedShop } from '../fixtures/shared-app.js';
import { expectBooksToBalance } from '../fixtures/books.js';

let shop: SharedShop;
beforeAll(async () => {
  shop = await sharedShop();
});
afterAll(() => expectBooksToBalance(shop.dataSource));

describe('GET /v1/wallet', () => {
  it('shows what was granted and what was bought as one balance, and nothing of another customer', async () => {
    const customer = await aCustomer().withCredit('2.50').create(shop);
    const stranger = await aCustomer().create(shop);
    await payTopUp(shop, customer, '10.00');
    expect((await customer.client.get('/v1/wallet')).expect(200).body).toMatchObject({
      available_micros: '12500000',
      held_micros: '0',
      posted_micros: '12500000',
    });
    expect((await stranger.client.get('/v1/wallet')).expect(200).body).toMatchObject({
      available_micros: '0',
      posted_micros: '0',
    });
  });

  it('is refused to a key without the scope for it', async () => {
    const customer = await aCustomer().withScopes('generate').create(shop);
    const refused = (await customer.client.get('/v1/wallet')).expect(403);
    expect(refused.body.error.code).toBe('insufficient_scope');
  });
});
