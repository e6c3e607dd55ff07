import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { balancesOf, generate } from '../fixtures/images.js';
import { sharedApp, sharedTwin, type SharedApp } from '../fixtures/shared-app.js';
import { attach, makeProviderKey, PROVIDER, walletRowsOf } from '../support/images/provider-keys.js';
import type { TestApp } from '../support/app/test-app.js';
import type { TestClient } from '../support/app/test-client.js';

const FREE_MODEL = 'black-forest-labs/flux-2-klein-4b';
const CREDIT = { available: 1_000_000n, held: 0n, posted: 1_000_000n };

let app: SharedApp;
/** Another process. Its clock is stopped, so what it knows of the keys never grows old by itself. */
let twin: TestApp;
beforeAll(async () => {
  [app, twin] = [await sharedApp(), await sharedTwin()];
  twin.clock.stop();
});
afterEach(() => twin.clock.stop());
afterAll(async () => {
  twin.clock.reset();
  await expectBooksToBalance(app.dataSource);
});

/** A customer, with a client of the other process, which knows already whether the customer has a key. */
async function stage(body: Readonly<Record<string, unknown>> = {}) {
  const customer = await aCustomer().withCredit('1.00').create();
  const there = twin.client(customer.apiKey);
  const ask = async (headers: Readonly<Record<string, string>> = {}) =>
    (await generate({ client: there }, body, headers)).expect(200);
  const mode = async () => (await ask()).headers.get('x-billing-mode');
  return { customer, there, ask, mode };
}

const remove = async (client: TestClient) =>
  void (await client.delete(`/v1/provider_keys/${PROVIDER}`)).expect(200);

describe('a provider key that was attached in one process', () => {
  it('has the very next calls of another one passed through: the wallet pays for none of them', async () => {
    const { customer, ask, mode } = await stage();
    expect(await mode()).toBe('wallet');
    const paid = await walletRowsOf(app, customer.accountId);
    await attach(customer, makeProviderKey(app));
    const answers = await Promise.all(Array.from({ length: 6 }, () => ask()));
    expect(answers.map(({ headers }) => headers.get('x-billing-mode'))).toEqual(Array(6).fill('byok'));
    expect(answers.map(({ headers }) => headers.get('x-charged-micros'))).toEqual(Array(6).fill('0'));
    expect(await walletRowsOf(app, customer.accountId)).toEqual(paid);
  });

  it('has them passed through also with an idempotency key, and as an attempt of an SDK', async () => {
    const { customer, ask, mode } = await stage();
    expect(await mode()).toBe('wallet');
    await attach(customer, makeProviderKey(app));
    const keyed = await ask({ 'idempotency-key': 'k' });
    expect(keyed.headers.get('x-billing-mode')).toBe('byok');
    expect((await ask({ 'idempotency-key': 'k' })).body).toEqual(keyed.body);
    await remove(customer.client);
    expect(await mode()).toBe('wallet');
    await attach(customer, makeProviderKey(app));
    const attempt = await ask({ 'x-stainless-retry-count': '0' });
    expect(attempt.headers.get('x-billing-mode')).toBe('byok');
    expect((await balancesOf(customer)).available).toBe(920_000n);
  });

  it('has calls of free models passed through as well', async () => {
    const { customer, mode } = await stage({ model: FREE_MODEL });
    expect(await mode()).toBe('free');
    await attach(customer, makeProviderKey(app));
    expect(await mode()).toBe('byok');
  });

  it('leaves a call to the wallet that is made instead of one that this key had refused', async () => {
    const { customer, ask, mode } = await stage();
    expect(await mode()).toBe('wallet');
    await attach(customer, 'bfl_not_accepted_by_anybody', { fall_back_to_wallet: true });
    const answer = await ask();
    expect(answer.headers.get('x-billing-mode')).toBe('wallet');
    expect((await balancesOf(customer)).available).toBe(920_000n);
  });
});

describe('a provider key that was replaced or removed in one process', () => {
  it('is used by no further call of another one', async () => {
    const { customer, mode } = await stage();
    const first = makeProviderKey(app);
    await attach(customer, first);
    expect(await mode()).toBe('byok');
    await attach(customer, makeProviderKey(app));
    expect(await mode()).toBe('byok');
    expect(app.blackForestLabs?.control.countsOf(first).submits).toBe(1);
    expect(await balancesOf(customer)).toEqual(CREDIT);
    await remove(customer.client);
    expect(await mode()).toBe('wallet');
    expect((await balancesOf(customer)).available).toBe(960_000n);
  });

  it('is used by no further call of a free model', async () => {
    const { customer, mode } = await stage({ model: FREE_MODEL });
    await attach(customer, makeProviderKey(app));
    expect(await mode()).toBe('byok');
    await remove(customer.client);
    expect(await mode()).toBe('free');
  });
});
