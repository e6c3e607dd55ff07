import { beforeAll, describe, expect, it } from '@jest/globals';
import { sharedApp, sharedTwin } from '../fixtures/shared-app.js';
import { balancesOf, expectReceiptsToAgree, generate, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestApp } from '../support/app/test-app.js';

let one: TestApp;
let two: TestApp;
beforeAll(async () => {
  one = await sharedApp();
  two = await sharedTwin();
});

describe('credit for exactly N images', () => {
  it('is N captures and a balance of zero, however many calls come at once over two processes', async () => {
    const customer = await one.createCustomer({ grantMicros: 50n * PRICE_MICROS });
    const other = { client: two.client(customer.apiKey) };
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, call) => generate(call % 2 === 0 ? customer : other)),
    );
    const count = (status: number) => answers.filter((answer) => answer.status === status).length;
    expect({ delivered: count(200), refused: count(402) }).toEqual({ delivered: 50, refused: 150 });
    expect(await balancesOf(customer)).toEqual({ available: 0n, held: 0n, posted: 0n });
    await expectReceiptsToAgree(one, customer.accountId, two);
    await expectBooksToBalance(one.dataSource);
  });

  it('is never more when calls ask for several images and the provider fails at some', async () => {
    const customer = await one.createCustomer({ grantMicros: 60n * PRICE_MICROS });
    const other = { client: two.client(customer.apiKey) };
    const answers = await Promise.all(
      Array.from({ length: 60 }, (_, call) =>
        generate(call % 2 === 0 ? customer : other, {
          n: 1 + (call % 4),
          prompt: `${customer.accountId} [sandbox:error, every=5]`,
        }),
      ),
    );
    const delivered = answers.flatMap(({ body }) => (body.data ?? []) as unknown[]).length;
    const { posted, held } = await balancesOf(customer);
    expect({ posted, held }).toEqual({
      posted: 60n * PRICE_MICROS - BigInt(delivered) * PRICE_MICROS,
      held: 0n,
    });
    expect(delivered).toBeLessThanOrEqual(60);
    await expectReceiptsToAgree(one, customer.accountId, two);
    await expectBooksToBalance(one.dataSource);
  });
});
