import { beforeAll, describe, expect, it } from '@jest/globals';
import { ApiKeysService } from '../../src/identity/api-keys/api-keys.service.js';
import { newId } from '../../src/platform/common/ids.js';
import { sharedApp, sharedTwin, type SharedApp } from '../fixtures/shared-app.js';
import type { TestClient } from '../support/app/test-client.js';

let app: SharedApp;
beforeAll(async () => {
  app = await sharedApp();
});

type MadeKey = { readonly id: string; readonly secret: string; readonly client: TestClient };

async function make(by: TestClient, body: object, path = '/v1/api_keys'): Promise<MadeKey> {
  const key = { name: 'made', scopes: ['generate', 'keys:write'], ...body };
  const { id, secret } = (await by.post(path, key)).expect(201).body;
  return { id, secret, client: app.client(secret) };
}

const inSeconds = (seconds: number): number => Math.trunc(app.clock.nowMs() / 1_000) + seconds;

const statusesOf = async (client: TestClient, keys: readonly MadeKey[], path = '/v1/api_keys') => {
  const { data } = (await client.get(`${path}?limit=100`)).expect(200).body;
  return keys.map(({ id }) => data.find((key: { id: string }) => key.id === id)?.status);
};

describe('the maker of a key', () => {
  it('is shown with it: an account key, an operator or the service', async () => {
    const customer = await app.createCustomer();
    const path = `/v1/accounts/${customer.accountId}/api_keys`;
    const child = await make(customer.client, {});
    const [shown, root] = (await customer.client.get('/v1/api_keys')).expect(200).body.data;
    expect(shown).toMatchObject({ id: child.id, created_by: `account_key:${root.id}` });
    expect(root.created_by).toBe('operator_key:key_env');
    const admin = await make(app.operator, { scopes: ['admin'] }, '/v1/operator_keys');
    const minted = await make(admin.client, {}, path);
    const read = (await app.operator.get(path)).expect(200).body.data[0];
    expect(read).toMatchObject({ id: minted.id, created_by: `operator_key:${admin.id}` });
    const service = { name: 'first', scopes: ['generate'] as const, expiresAt: null };
    const first = await app.app.get(ApiKeysService).createAccountKey(customer.accountId, service, null);
    expect(first.createdBy).toBe('system');
  });
});

describe('revoking a key that has made others', () => {
  async function aLine() {
    const customer = await app.createCustomer();
    const leaked = await make(customer.client, {});
    const child = await make(leaked.client, {});
    const grandchild = await make(child.client, { scopes: ['generate'] });
    const stranger = await make(customer.client, {});
    return { customer, leaked, child, grandchild, stranger, all: [leaked, child, grandchild, stranger] };
  }
  const ALL_BUT_STRANGER = ['revoked', 'revoked', 'revoked', 'active'];

  it('revokes all of them by default, in every process within a second, and no other key', async () => {
    const { customer, leaked, child, grandchild, all } = await aLine();
    const twin = await sharedTwin();
    const elsewhere = twin.client((await make(child.client, {})).secret);
    (await elsewhere.get('/v1/api_keys')).expect(200);
    (await customer.client.delete(`/v1/api_keys/${leaked.id}`)).expect(200);
    expect(await statusesOf(customer.client, all)).toEqual(ALL_BUT_STRANGER);
    for (const { client } of [leaked, child, grandchild]) {
      expect((await client.get('/v1/models')).expect(401).body.error.code).toBe('revoked_api_key');
    }
    twin.clock.letPass(1_000);
    (await elsewhere.get('/v1/api_keys')).expect(401);
  });

  it('leaves them alone when the request says so, and takes them when it is sent again', async () => {
    const { customer, leaked, all } = await aLine();
    const path = `/v1/api_keys/${leaked.id}`;
    (await customer.client.delete(`${path}?with_descendants=false`)).expect(200);
    expect(await statusesOf(customer.client, all)).toEqual(['revoked', 'active', 'active', 'active']);
    (await customer.client.delete(`${path}?with_descendants=true`)).expect(200);
    expect(await statusesOf(customer.client, all)).toEqual(ALL_BUT_STRANGER);
  });

  it('is refused without a word about them when the key itself or a descendant asks: it may be a rotation', async () => {
    const { customer, leaked, child, all } = await aLine();
    const path = `/v1/api_keys/${leaked.id}`;
    for (const { client } of [leaked, child]) {
      const refused = (await client.delete(path)).expect(400).body.error;
      expect(refused).toMatchObject({ code: 'invalid_request', param: 'with_descendants' });
    }
    expect(await statusesOf(customer.client, all)).toEqual(['active', 'active', 'active', 'active']);
    (await child.client.delete(`${path}?with_descendants=false`)).expect(200);
    expect(await statusesOf(customer.client, all)).toEqual(['revoked', 'active', 'active', 'active']);
    // An operator, and a key from elsewhere, are no rotation.
    const operatorPath = `/v1/accounts/${customer.accountId}/api_keys/${leaked.id}`;
    (await app.operator.delete(operatorPath)).expect(200);
    expect(await statusesOf(customer.client, all)).toEqual(ALL_BUT_STRANGER);
  });

  it('leaves none that a descendant makes at the same moment, in any process', async () => {
    const twin = await sharedTwin();
    for (let round = 0; round < 8; round += 1) {
      const { customer, leaked, child } = await aLine();
      const makers = [leaked, child, child, leaked].map(({ secret }, index) =>
        (index % 2 === 0 ? app : twin)
          .client(secret)
          .post('/v1/api_keys', { name: 'escaped', scopes: ['keys:write'] }),
      );
      const [revoked, ...made] = await Promise.all([
        customer.client.delete(`/v1/api_keys/${leaked.id}`),
        ...makers,
      ]);
      revoked.expect(200);
      const escaped = made.filter(({ status }) => status === 201).map(({ body }) => body as MadeKey);
      expect(await statusesOf(customer.client, escaped)).toEqual(escaped.map(() => 'revoked'));
    }
  });

  it('ends operator keys in the same way, but none of the keys that they made for accounts', async () => {
    const admin = await make(app.operator, { scopes: ['admin'] }, '/v1/operator_keys');
    const successor = await make(admin.client, { scopes: ['admin'] }, '/v1/operator_keys');
    const customer = await app.createCustomer();
    const minted = await make(admin.client, {}, `/v1/accounts/${customer.accountId}/api_keys`);
    (await successor.client.delete(`/v1/operator_keys/${admin.id}`)).expect(400);
    (await app.operator.delete(`/v1/operator_keys/${admin.id}`)).expect(200);
    expect(await statusesOf(app.operator, [admin, successor], '/v1/operator_keys')).toEqual([
      'revoked',
      'revoked',
    ]);
    (await minted.client.get('/v1/api_keys')).expect(200);
  });

  it.each(['yes', '1', '', 'true&with_descendants=false'])(
    'is refused when with_descendants is %j',
    async (value) => {
      const { customer, leaked } = await aLine();
      const answer = await customer.client.delete(`/v1/api_keys/${leaked.id}?with_descendants=${value}`);
      expect(answer.expect(400).body.error.param).toBe('with_descendants');
      expect(await statusesOf(customer.client, [leaked])).toEqual(['active']);
    },
  );
});

describe('a key in the database', () => {
  it('never has more rights than the key that made it, for every writer, and nothing of it changes except its revocation', async () => {
    const [customer, stranger] = [await app.createCustomer(), await app.createCustomer()];
    const limited = await make(customer.client, { spend_limits: { total_micros: '1' } });
    const ending = await make(customer.client, { expires_at: inSeconds(3_600) });
    const insert = (accountId: string, scopes: string[], maker: string, endsAt: number | null = null) =>
      app.dataSource
        .query(
          `INSERT INTO api_keys (id, account_id, name, hint, secret_hash, scopes, created_at, expires_at, created_by)
           VALUES ($1::text, $2, 'x', 'x', sha256($1::text::bytea), $3, now(), to_timestamp($4), 'account_key:' || $5)`,
          [newId('apiKey'), accountId, scopes, endsAt, maker],
        )
        .then(() => 'inserted', String);
    const { accountId } = customer;
    expect(await insert(accountId, ['wallet:read'], ending.id, inSeconds(60))).toContain('lacks');
    expect(await insert(accountId, ['generate'], ending.id)).toContain('outlives its maker');
    expect(await insert(accountId, ['generate'], ending.id, inSeconds(7_200))).toContain(
      'outlives its maker',
    );
    expect(await insert(stranger.accountId, ['generate'], limited.id)).toContain('another owner');
    expect(await insert(accountId, ['generate'], newId('apiKey'))).toContain('does not exist');
    expect(await insert(accountId, ['generate'], limited.id)).toContain('spend limits');
    expect(await insert(accountId, ['keys:write'], limited.id)).toContain('spend limits');
    expect(await insert(accountId, ['generate'], ending.id, inSeconds(60))).toBe('inserted');
    const changes = ["scopes = '{generate}'", 'account_id = NULL', 'expires_at = NULL', 'created_by = NULL'];
    for (const change of changes) {
      const update = app.dataSource.query(`UPDATE api_keys SET ${change} WHERE id = $1`, [ending.id]);
      await expect(update).rejects.toThrow(/permission denied/);
    }
  });
});
