import { afterAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { balancesOf, generate } from '../fixtures/images.js';
import { sharedApp } from '../fixtures/shared-app.js';

afterAll(async () => expectBooksToBalance((await sharedApp()).dataSource));

describe('POST /v1/images/generations without enough credit', () => {
  it('is refused with 402, and nothing is charged', async () => {
    const customer = await aCustomer().withCredit('0.05').create();
    (await generate(customer, { size: '64x64' })).expect(200);

    const refused = await generate(customer);
    expect(refused.expect(402).body.error.code).toBe('insufficient_credits');
    expect(await balancesOf(customer)).toEqual({ available: 10_000n, held: 0n, posted: 10_000n });
  });
});
