import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sharedApp, sharedTwin } from '../fixtures/shared-app.js';
import { generate, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestApp, TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

let one: TestApp;
let two: TestApp;
beforeAll(async () => {
  one = await sharedApp();
  two = await sharedTwin();
});
afterAll(() => expectBooksToBalance(one.dataSource));

const images = (count: number): string => String(BigInt(count) * PRICE_MICROS);

type MadeKey = { readonly id: string; readonly secret: string };

async function makeKey({ client }: TestCustomer, body: object): Promise<MadeKey> {
  const key = { name: 'limited', scopes: ['generate'], ...body };
  return (await client.post('/v1/api_keys', key)).expect(201).body as MadeKey;
}

function change(
  { client }: Pick<TestCustomer, 'client'>,
  id: string,
  spendLimits: unknown,
): Promise<TestAnswer> {
  return client.send('PATCH', `/v1/api_keys/${id}`, { body: { spend_limits: spendLimits } });
}

function callWith(service: TestApp, { secret }: MadeKey, body = {}): Promise<TestAnswer> {
  return generate({ client: service.client(secret) }, body);
}

describe('the spend limits of an API key', () => {
  it('are given when it is made, shown with what is used, and hold in every process', async () => {
    const customer = await one.createCustomer({ grantMicros: 100n * PRICE_MICROS });
    const key = await makeKey(customer, { spend_limits: { day_micros: images(2), total_micros: images(9) } });
    expect(key).toMatchObject({
      spend_limits: {
        day_micros: images(2),
        month_micros: null,
        total_micros: images(9),
        day_used_micros: '0',
        month_used_micros: '0',
        total_used_micros: '0',
      },
    });
    (await callWith(one, key)).expect(200);
    (await callWith(two, key)).expect(200);
    const refused = (await callWith(two, key)).expect(402);
    expect(refused.headers.get('x-should-retry')).toBe('false');
    expect(refused.headers.get('x-charged-micros')).toBe('0');
    expect(refused.body.error).toMatchObject({
      type: 'insufficient_credits',
      code: 'key_limit_reached',
      message: expect.stringMatching(
        /^This API key may spend \$0\.08 a day: .* Nothing was charged\. Raise the key's/,
      ),
      limit_source: 'key',
      limit_period: 'day',
      limit_micros: images(2),
      used_micros: images(2),
      required_micros: images(1),
      shortfall_micros: images(1),
      available_micros: images(98),
      held_micros: '0',
      charged_micros: '0',
      top_up_url: expect.any(String),
    });
    const { resets_at: resetsAt } = refused.body.error;
    expect(resetsAt % 86_400).toBe(0);
    expect(resetsAt * 1_000 - Date.now()).toBeLessThanOrEqual(86_400_000);
    const shown = (await customer.client.get(`/v1/api_keys/${key.id}`)).expect(200).body;
    expect(shown.spend_limits).toMatchObject({
      day_used_micros: images(2),
      month_used_micros: images(2),
      total_used_micros: images(2),
      day_resets_at: resetsAt,
    });
    const list = (await customer.client.get('/v1/api_keys')).expect(200).body.data;
    expect(list.map((listed: { spend_limits: unknown }) => listed.spend_limits)).toEqual([
      shown.spend_limits,
      null,
    ]);
    // The account's other key, which made this one, is not limited by it.
    (await generate(customer)).expect(200);
  });

  it('give back what a failed call had set aside', async () => {
    const customer = await one.createCustomer({ grantMicros: 100n * PRICE_MICROS });
    const key = await makeKey(customer, { spend_limits: { total_micros: images(3) } });
    (await callWith(one, key, { n: 3, prompt: `${key.id} [sandbox:error]` })).expect(500);
    (await callWith(two, key, { n: 4 })).expect(402);
    expect((await callWith(two, key, { n: 3 })).expect(200).body.data).toHaveLength(3);
    (await callWith(one, key)).expect(402);
  });

  it('are changed one by one, and hold at once for the key that is in use', async () => {
    const customer = await one.createCustomer({ grantMicros: 100n * PRICE_MICROS });
    const key = await makeKey(customer, {});
    (await callWith(one, key, { n: 2 })).expect(200);
    const set = (await change(customer, key.id, { month_micros: images(2) })).expect(200).body;
    expect(set.spend_limits).toMatchObject({ month_micros: images(2), month_used_micros: images(2) });
    // The other process may know the key from before the limit: that is of no consequence.
    (await callWith(two, key)).expect(402);
    const raised = (
      await change(customer, key.id, { month_micros: images(3), day_micros: images(9) })
    ).expect(200);
    expect(raised.body.spend_limits).toMatchObject({ day_micros: images(9), month_micros: images(3) });
    (await callWith(two, key)).expect(200);
    (await callWith(one, key)).expect(402);
    const kept = (await change(customer, key.id, { month_micros: null })).expect(200).body.spend_limits;
    expect(kept).toMatchObject({ day_micros: images(9), month_micros: null, day_used_micros: images(3) });
    expect((await change(customer, key.id, {})).expect(200).body.spend_limits).toEqual(kept);
    expect((await change(customer, key.id, null)).expect(200).body.spend_limits).toBeNull();
    expect(await one.dataSource.query('SELECT FROM key_budgets WHERE key_id = $1', [key.id])).toEqual([]);
    (await callWith(two, key, { n: 4 })).expect(200);
  });

  it('are set by an operator too, on the key of the account that the path names only', async () => {
    const customer = await one.createCustomer({ grantMicros: 100n * PRICE_MICROS });
    const stranger = await one.createCustomer();
    const key = await makeKey(customer, {});
    const send = (accountId: string) =>
      one.operator.send('PATCH', `/v1/accounts/${accountId}/api_keys/${key.id}`, {
        body: { spend_limits: { total_micros: images(1) } },
      });
    (await send(stranger.accountId)).expect(404);
    (await change(stranger, key.id, { total_micros: images(1) })).expect(404);
    (await callWith(one, key, { n: 2 })).expect(200);
    expect((await send(customer.accountId)).expect(200).body.spend_limits.total_used_micros).toBe(images(2));
    (await callWith(one, key)).expect(402);
    const body = { name: 'made for you', scopes: ['generate'], spend_limits: { day_micros: images(1) } };
    const made = await one.operator.post(`/v1/accounts/${customer.accountId}/api_keys`, body);
    expect(made.expect(201).body.spend_limits).toMatchObject({ day_micros: images(1), day_used_micros: '0' });
  });

  it('are not lifted by the key that they limit, nor by a key that it makes', async () => {
    const customer = await one.createCustomer({ grantMicros: 100n * PRICE_MICROS });
    const key = await makeKey(customer, {
      scopes: ['generate', 'keys:write', 'wallet:read'],
      spend_limits: { total_micros: images(1) },
    });
    const limited = { client: one.client(key.secret) };
    const refused = (await change(limited, key.id, { total_micros: images(100) })).expect(403);
    expect(refused.body.error).toMatchObject({ code: 'key_is_limited', type: 'permission_error' });
    (await change(limited, key.id, null)).expect(403);
    const child = { name: 'child', scopes: ['generate'] };
    (await limited.client.post('/v1/api_keys', child)).expect(403);
    (await limited.client.post('/v1/api_keys', { ...child, scopes: ['wallet:read'] })).expect(201);
    (await change(customer, key.id, { total_micros: images(2) })).expect(200);
  });

  it('are not lifted by a key that a limited key makes to make keys: there is none', async () => {
    const customer = await one.createCustomer({ grantMicros: 100n * PRICE_MICROS });
    const key = await makeKey(customer, {
      scopes: ['generate', 'keys:write', 'wallet:read'],
      spend_limits: { total_micros: images(1) },
    });
    (await callWith(one, key)).expect(200);
    const limited = one.client(key.secret);
    for (const scopes of [['keys:write'], ['keys:write', 'wallet:read']]) {
      const refused = await limited.post('/v1/api_keys', { name: 'child', scopes });
      expect(refused.expect(403).body.error.code).toBe('key_is_limited');
    }
    (await callWith(one, key)).expect(402);
  });

  it('are set on no key whose descendants could go on spending: those are revoked first', async () => {
    const customer = await one.createCustomer({ grantMicros: 100n * PRICE_MICROS });
    const maker = await makeKey(customer, { scopes: ['generate', 'keys:write'] });
    const child = (
      await one
        .client(maker.secret)
        .post('/v1/api_keys', { name: 'child', scopes: ['generate', 'keys:write'] })
    ).expect(201).body;
    const grandchild = (
      await two.client(child.secret).post('/v1/api_keys', { name: 'grandchild', scopes: ['generate'] })
    ).expect(201).body;
    const limit = { total_micros: images(1) };
    (await change(customer, child.id, null)).expect(200);
    expect((await change(customer, maker.id, limit)).expect(409).body.error).toMatchObject({
      code: 'key_has_descendants',
      descendants: 2,
      message: expect.stringContaining(`${child.id}, ${grandchild.id}`),
    });
    // The grandchild lives on without its maker, and is what the limit would not hold for.
    (await customer.client.delete(`/v1/api_keys/${child.id}?with_descendants=false`)).expect(200);
    (await change(customer, maker.id, limit)).expect(409);
    (await customer.client.delete(`/v1/api_keys/${grandchild.id}`)).expect(200);
    (await change(customer, maker.id, limit)).expect(200);
  });

  it('are raised only by a key that may spend itself', async () => {
    const customer = await one.createCustomer({ grantMicros: 100n * PRICE_MICROS });
    const key = await makeKey(customer, { spend_limits: { day_micros: images(3), total_micros: images(5) } });
    const clerk = { client: one.client((await makeKey(customer, { scopes: ['keys:write'] })).secret) };
    for (const raised of [null, { total_micros: images(6) }, { day_micros: null }]) {
      const refused = (await change(clerk, key.id, raised)).expect(403).body.error;
      expect(refused).toMatchObject({ code: 'insufficient_scope', required_scope: 'generate' });
    }
    (await change(clerk, key.id, { day_micros: images(2), month_micros: images(4) })).expect(200);
  });

  it('need the scope keys:write', async () => {
    const customer = await one.createCustomer();
    const key = await makeKey(customer, { scopes: ['generate', 'wallet:read'] });
    (await change({ client: one.client(key.secret) }, key.id, null)).expect(403);
  });

  it.each([
    [{ day_micros: '0' }, 'spend_limits.day_micros'],
    [{ month_micros: '-1' }, 'spend_limits.month_micros'],
    [{ total_micros: '1.5' }, 'spend_limits.total_micros'],
    [{ total_micros: '100000000000001' }, 'spend_limits.total_micros'],
    [{ week_micros: '1' }, 'spend_limits.week_micros'],
    ['1', 'spend_limits'],
    [[], 'spend_limits'],
    [[{ day_micros: '1' }], 'spend_limits'],
  ])('are refused with the field at fault when they are %j', async (spendLimits, param) => {
    const customer = await one.createCustomer();
    const key = await makeKey(customer, {});
    expect((await change(customer, key.id, spendLimits)).expect(400).body.error.param).toBe(param);
    const made = { name: 'bad', scopes: ['generate'], spend_limits: spendLimits };
    expect((await customer.client.post('/v1/api_keys', made)).expect(400).body.error.param).toBe(param);
    expect((await customer.client.get(`/v1/api_keys/${key.id}`)).expect(200).body.spend_limits).toBeNull();
  });
});
