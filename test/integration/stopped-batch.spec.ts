import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import {
  balancesOf,
  capturedMicros,
  expectReceiptsToAgree,
  generate,
  PRICE_MICROS,
} from '../fixtures/images.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { CleanUp } from '../support/clean-up.js';
import { StoppedBatches } from '../support/database/stopped-batch.js';
import { createTestDatabase } from '../support/database/test-database.js';

const cleanUp = new CleanUp();
let service: TestApp;
let batches: StoppedBatches;
let customer: TestCustomer;
let others: readonly TestCustomer[];

beforeAll(async () => {
  const database = await createTestDatabase();
  cleanUp.add(() => database.drop());
  batches = await StoppedBatches.install(database.url, cleanUp);
  service = await startTestApp({
    databaseUrl: database.url,
    blackForestLabs: true,
    // Batches do not overlap, so the next command waits until the stopped batch is given up.
    settings: { engineLanes: 1, engineOverlapFrom: 1_000 },
  });
  cleanUp.add(() => service.close());
  const create = (): Promise<TestCustomer> => aCustomer().withCredit('1.00').create(service);
  customer = await create();
  others = await Promise.all(Array.from({ length: 8 }, create));
});
afterEach(() => batches.goOn(customer.accountId));
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await cleanUp.run();
});

function debit({ accountId }: TestCustomer, reference: string) {
  return service.operator.post('/v1/debits', { account: accountId, reference, amount_micros: '10000' });
}

/** They come after the stopped batch, so by their end its connection was given up. */
async function expectOthersToGoOn(reference: string): Promise<void> {
  const debits = await Promise.all(others.map((other) => debit(other, reference)));
  const images = await Promise.all(others.map((other) => generate(other)));
  for (const answer of debits) answer.expect(201);
  for (const answer of images) answer.expect(200);
}

describe('a server process that is stopped inside a batch of the engine', () => {
  it('holds up no debit and no image of another wallet; its own are refused with 503, and charged once in the end', async () => {
    await batches.stop(customer.accountId);
    const unsure = debit(customer, 'unsure');
    await batches.stopped(customer.accountId);
    await expectOthersToGoOn('during-a-debit');
    const refused = await Promise.all([generate(customer), debit(customer, 'refused')]);
    for (const answer of refused) expect(answer.expect(503).body.error.code).toBe('wallet_locked');
    expect(refused[0].body.error).toMatchObject({ charged_micros: '0' });
    // Whether it was charged is not known.
    expect((await unsure).expect(503).body.error.code).toBe('database_unavailable');
    await batches.goOn(customer.accountId);
    (await debit(customer, 'unsure')).expect(200);
    (await debit(customer, 'refused')).expect(201);
    expect(await balancesOf(customer)).toEqual({ available: 980_000n, held: 0n, posted: 980_000n });
  });

  it('delays the answer of an image that is made only while it is stopped, and charges it once', async () => {
    await batches.stop(customer.accountId);
    const call = generate(customer);
    await batches.stopped(customer.accountId);
    await expectOthersToGoOn('during-an-image');
    await batches.goOn(customer.accountId);
    expect((await call).expect(200).headers.get('x-charged-micros')).toBe(`${PRICE_MICROS}`);
    await expectReceiptsToAgree(service, customer.accountId);
    expect(await capturedMicros(service, customer.accountId)).toBe(PRICE_MICROS);
  });
});
