import { beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/common/ids.js';
import { sharedApp, type SharedApp } from '../fixtures/shared-app.js';
import type { TestClient } from '../support/app/test-client.js';

let app: SharedApp;
beforeAll(async () => {
  app = await sharedApp();
});

type MadeKey = { readonly id: string; readonly client: TestClient };

async function make(by: TestClient, body: object, path = '/v1/api_keys'): Promise<MadeKey> {
  const key = { name: 'made', scopes: ['generate', 'keys:write'], ...body };
  const { id, secret } = (await by.post(path, key)).expect(201).body;
  return { id, client: app.client(secret) };
}

const inSeconds = (seconds: number): number => Math.trunc(app.clock.nowMs() / 1_000) + seconds;

describe('a key in the database', () => {
  it('is never beyond the key that made it, whoever writes, and nothing of it changes but its revocation', async () => {
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
