import { describe, expect, it } from '@jest/globals';
import { aCustomer } from '../fixtures/customers.js';

describe('POST /v1/quotes', () => {
  it('says what a call would cost, and charges nothing', async () => {
    const customer = await aCustomer().withCredit('1.00').create();
    const quote = await customer.client.post('/v1/quotes', {
      model: 'black-forest-labs/flux-2-klein-9b',
      images: 3,
    });
    expect(quote.expect(200).body).toMatchObject({ total_micros: '120000' });
    const wallet = await customer.client.get('/v1/wallet');
    expect(wallet.expect(200).body).toMatchObject({ available_micros: '1000000' });
  });
});
