import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  ERASED_AFTER_MS,
  ProviderKeyErasureService,
} from '../../src/gateway/provider-keys/upkeep/provider-key-erasure.service.js';
import { attach, makeProviderKey, placesOf, PROVIDER } from '../support/images/provider-keys.js';
import { withClockAhead } from '../support/images/recovery.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

const PATH = `/v1/provider_keys/${PROVIDER}`;

let service: TestApp;
/** A second process on the same database. */
let second: TestApp;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
  const { masterKeys, dataDir, blackForestLabs } = service.settings;
  second = await startTestApp({
    databaseUrl: service.databaseUrl,
    settings: { masterKeys, dataDir, blackForestLabs },
  });
});
afterAll(async () => {
  await second.close();
  await service.close();
});

describe('attaching a key', () => {
  it('shows its last four characters and never more, to its account and to no one else', async () => {
    const customer = await service.createCustomer();
    const stranger = await service.createCustomer();
    const key = makeProviderKey(service);
    const put = (await customer.client.send('PUT', PATH, { body: { key } })).expect(200);
    expect(put.body).toEqual({
      object: 'provider_key',
      id: expect.stringMatching(/^pk_[0-9A-HJKMNP-TV-Z]{26}$/),
      provider: PROVIDER,
      last_four: key.slice(-4),
      fall_back_to_wallet: false,
      created: expect.any(Number),
      attached_by: expect.stringMatching(/^account_key:key_/),
    });
    expect((await customer.client.get(PATH)).expect(200).body).toEqual(put.body);
    const list = (await customer.client.get('/v1/provider_keys')).expect(200).body;
    expect(list).toEqual({ object: 'list', url: '/v1/provider_keys', has_more: false, data: [put.body] });
    (await stranger.client.get(PATH)).expect(404);
    expect((await stranger.client.get('/v1/provider_keys')).body.data).toEqual([]);
    (await stranger.client.delete(PATH)).expect(404);
    (await stranger.client.post(`${PATH}/test`)).expect(404);
    expect(await placesOf(service, key)).toEqual([]);
  });

  it('replaces the key that was there, and every step stays in the audit: who, when, why, never the key', async () => {
    const customer = await service.createCustomer();
    const [first, then] = [makeProviderKey(service), makeProviderKey(service)];
    const firstId = await attach(customer, first);
    const thenId = await attach(customer, then, { fall_back_to_wallet: true });
    (await customer.client.delete(PATH)).expect(200);
    (await customer.client.delete(PATH)).expect(404);
    const path = `/v1/accounts/${customer.accountId}/provider_keys`;
    const { body } = (await service.operator.get(path)).expect(200);
    const who = expect.stringMatching(/^account_key:key_/);
    expect(body.data).toMatchObject([
      { id: thenId, removed_reason: 'deleted', removed_by: who, fall_back_to_wallet: true },
      {
        id: firstId,
        removed_reason: 'replaced',
        removed_by: who,
        attached_by: who,
        account: customer.accountId,
      },
    ]);
    expect(body.data[0].removed_at).toEqual(expect.any(Number));
    expect(JSON.stringify(body)).not.toContain(first);
    expect(JSON.stringify(body)).not.toContain(then);
    (await customer.client.get(path)).expect(403);
    (await service.operator.get(`/v1/accounts/acct_01KB2H7Q0000000000000000AA/provider_keys`)).expect(404);
  });

  it('leaves one key, however many attach at the same time in whichever process', async () => {
    const customer = await service.createCustomer();
    const clients = [customer.client, second.client(customer.apiKey)];
    const ids = await Promise.all(
      Array.from({ length: 12 }, (_, index) =>
        attach({ client: clients[index % 2] ?? customer.client }, makeProviderKey(service)),
      ),
    );
    expect(new Set(ids).size).toBe(12);
    const { data } = (await customer.client.get('/v1/provider_keys')).expect(200).body;
    expect(data).toHaveLength(1);
    const path = `/v1/accounts/${customer.accountId}/provider_keys?limit=100`;
    const history = (await service.operator.get(path)).expect(200).body.data;
    const live = history.filter((key: { removed_at: unknown }) => key.removed_at === null);
    expect([history.length, live.length]).toEqual([12, 1]);
  });

  it('needs the scope keys:write, for reading as well', async () => {
    const customer = await service.createCustomer({ scopes: ['generate', 'wallet:read', 'wallet:write'] });
    const body = { key: makeProviderKey(service) };
    (await customer.client.send('PUT', PATH, { body })).expect(403);
    (await customer.client.get('/v1/provider_keys')).expect(403);
    (await customer.client.get(PATH)).expect(403);
    (await customer.client.delete(PATH)).expect(403);
    (await customer.client.post(`${PATH}/test`)).expect(403);
    (await service.operator.get('/v1/provider_keys')).expect(403);
  });

  it.each([
    ['no key', {}, 'key'],
    ['too short a key', { key: 'bfl_short' }, 'key'],
    ['a key with a line break', { key: `bfl_0123456789abcdef\r\nx-key: other` }, 'key'],
    ['a key with a space around it', { key: ' bfl_0123456789abcdef' }, 'key'],
    ['a key beyond Latin letters', { key: 'bfl_0123456789abcdé' }, 'key'],
    ['a number', { key: 1_234_567_890_123_456 }, 'key'],
    [
      'a wish that is no yes or no',
      { key: 'bfl_0123456789abcdef', fall_back_to_wallet: 'yes' },
      'fall_back_to_wallet',
    ],
    ['an unknown field', { key: 'bfl_0123456789abcdef', fallback: true }, 'fallback'],
  ])('refuses %s, and does not repeat the key', async (_what, body, param) => {
    const customer = await service.createCustomer();
    const answer = (await customer.client.send('PUT', PATH, { body })).expect(400);
    expect(answer.body.error).toMatchObject({ code: 'invalid_request', param });
    expect(JSON.stringify(answer.body)).not.toContain('0123456789abcdef');
  });

  it('knows its providers by name only', async () => {
    const customer = await service.createCustomer();
    const body = { key: makeProviderKey(service) };
    for (const provider of ['nobody', 'constructor', '%2e%2e', 'BLACK_FOREST_LABS', 'x'.repeat(90)]) {
      const answer = await customer.client.send('PUT', `/v1/provider_keys/${provider}`, { body });
      expect(answer.status).toBe(404);
    }
  });
});

describe('testing a key', () => {
  it('says what the provider says of it, and costs nothing there', async () => {
    const customer = await service.createCustomer();
    const key = makeProviderKey(service);
    const test = async () => (await customer.client.post(`${PATH}/test`)).expect(200).body;
    await attach(customer, key);
    service.blackForestLabs?.control.setCredits(key, 1_250);
    expect(await test()).toEqual({
      object: 'provider_key_test',
      provider: PROVIDER,
      outcome: 'accepted',
      upstream_credit_micros: '12500000',
      tested_at: expect.any(Number),
    });
    service.blackForestLabs?.control.setCredits(key, 0);
    expect(await test()).toMatchObject({ outcome: 'no_credit', upstream_credit_micros: '0' });
    expect(service.blackForestLabs?.control.countsOf(key)).toMatchObject({ submits: 0, creditsUsed: 0 });
    await attach(customer, 'bfl_not_accepted_by_anybody');
    expect(await test()).toMatchObject({ outcome: 'rejected', upstream_credit_micros: null });
  });

  it('says that it does not know when the provider is away', async () => {
    const alone = await startTestApp();
    const customer = await alone.createCustomer();
    await attach(customer, makeProviderKey(service));
    expect((await customer.client.post(`${PATH}/test`)).expect(200).body.outcome).toBe('unreachable');
    await alone.close();
  });
});

describe('a removed key', () => {
  const secretsOf = (accountId: string) =>
    service.dataSource.query(
      `SELECT ciphertext IS NULL AND wrapped_key IS NULL AND master_key_id IS NULL AS erased
         FROM provider_keys WHERE account_id = $1 ORDER BY id`,
      [accountId],
    );

  it('is kept for the calls that run, and erased when none can need it; a live one never is', async () => {
    const customer = await service.createCustomer();
    await attach(customer, makeProviderKey(service));
    await attach(customer, makeProviderKey(service));
    await service.app.get(ProviderKeyErasureService).run();
    expect(await secretsOf(customer.accountId)).toEqual([{ erased: false }, { erased: false }]);
    await withClockAhead(service, ERASED_AFTER_MS + 1_000, async () => {
      expect(await service.app.get(ProviderKeyErasureService).run()).toBeGreaterThan(0);
      expect(await service.app.get(ProviderKeyErasureService).run()).toBe(0);
    });
    expect(await secretsOf(customer.accountId)).toEqual([{ erased: true }, { erased: false }]);
    expect(service.clock.aheadMs).toBe(0);
  });

  it.each([
    ['taken back', 'removed_at = NULL, removed_by = NULL, removed_reason = NULL'],
    ['said to be of another time', `removed_at = now() + interval '1 h'`],
    ['said to be attached by another', `attached_by = 'x'`],
    ['exchanged', `ciphertext = '\\x00'`],
    ['allowed the wallet afterwards', 'fall_back_to_wallet = true'],
  ])('is an audit record: it cannot be %s', async (_what, change) => {
    const customer = await service.createCustomer();
    await attach(customer, makeProviderKey(service));
    (await customer.client.delete(PATH)).expect(200);
    const write = (sql: string) => service.dataSource.query(sql, [customer.accountId]);
    await expect(write(`UPDATE provider_keys SET ${change} WHERE account_id = $1`)).rejects.toThrow(/audit/);
    await expect(write('DELETE FROM provider_keys WHERE account_id = $1')).rejects.toThrow(
      /permission denied/,
    );
  });
});

describe('limits', () => {
  it('stop a script that attaches without end', async () => {
    const customer = await service.createCustomer();
    await service.dataSource.query(
      `INSERT INTO provider_keys (account_id, id, provider, last_four, fall_back_to_wallet, created_at, attached_by,
                                  removed_at, removed_by, removed_reason)
       SELECT $1, 'pk_' || n, $2, 'abcd', false, now(), 'test', now(), 'test', 'replaced' FROM generate_series(1, 100) n`,
      [customer.accountId, PROVIDER],
    );
    const body = { key: `bfl_${randomBytes(12).toString('hex')}` };
    const answer = (await customer.client.send('PUT', PATH, { body })).expect(400);
    expect(answer.body.error.message).toMatch(/try again in a day/);
  });

  it('count the changes and tests of a minute', async () => {
    const customer = await service.createCustomer();
    const statuses = new Set<number>();
    for (let count = 0; count < 31; count += 1) statuses.add((await customer.client.delete(PATH)).status);
    expect(statuses).toEqual(new Set([404, 429]));
  });
});
