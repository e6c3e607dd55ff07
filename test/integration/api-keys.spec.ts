import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import { pino } from 'pino';
import { ApiKeysService } from '../../src/identity/api-keys/api-keys.service.js';
import { API_KEY_PATTERN, parseApiKey } from '../../src/identity/auth/credentials.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import type { TestAnswer } from '../support/app/test-client.js';

let service: TestApp;
let second: TestApp;
/** Everything that the service logged, at its most talkative. */
let logged = '';

beforeAll(async () => {
  const log = pino({ level: 'trace' }, { write: (line: string) => void (logged += line) });
  service = await startTestApp({ log });
  second = await startTestApp({
    databaseUrl: service.databaseUrl,
    settings: { operatorKey: service.operatorKey },
  });
});
afterAll(async () => {
  await second.close();
  await service.close();
});

const nowSeconds = (): number => Math.trunc(Date.now() / 1_000);

function createFor(customer: TestCustomer, body: object): Promise<TestAnswer> {
  return service.operator.post(`/v1/accounts/${customer.accountId}/api_keys`, body);
}

async function countKeys(): Promise<number> {
  return Number((await service.dataSource.query('SELECT count(*) FROM api_keys'))[0].count);
}

describe('making a key', () => {
  it('shows its secret once, and everything else permanently', async () => {
    const customer = await service.createCustomer();
    const expiresAt = nowSeconds() + 3_600;
    const request = { name: 'Gateway', scopes: ['generate', 'wallet:read'], expires_at: expiresAt };
    const { secret, ...shown } = (await createFor(customer, request)).expect(201).body;
    expect(secret).toMatch(API_KEY_PATTERN);
    expect(parseApiKey(secret)).toBe('account_key');
    expect(shown).toEqual({
      id: expect.stringMatching(/^key_[0-9A-HJKMNP-TV-Z]{26}$/),
      object: 'api_key',
      account: customer.accountId,
      name: 'Gateway',
      hint: `sk-cof-…${secret.slice(-4)}`,
      scopes: ['generate', 'wallet:read'],
      status: 'active',
      created: expect.any(Number),
      created_by: 'operator_key:key_env',
      last_used_at: null,
      expires_at: expiresAt,
      revoked_at: null,
      spend_limits: null,
      duplicate_window_seconds: 0,
    });
    expect((await customer.client.get(`/v1/api_keys/${shown.id}`)).expect(200).body).toEqual(shown);
    const list = (await customer.client.get('/v1/api_keys')).expect(200).body;
    expect(list).toMatchObject({ object: 'list', url: '/v1/api_keys', has_more: false });
    expect(list.data[0]).toEqual(shown);
    const operatorList = (await service.operator.get(`/v1/accounts/${customer.accountId}/api_keys`)).expect(
      200,
    ).body;
    expect(operatorList).toEqual({ ...list, url: `/v1/accounts/${customer.accountId}/api_keys` });
  });

  it('keeps nothing of the secret but its SHA-256, in the database and in the log', async () => {
    const customer = await service.createCustomer();
    const made = [
      (await createFor(customer, { name: 'one', scopes: ['keys:write'] })).expect(201).body,
      (await customer.client.post('/v1/api_keys', { name: 'two', scopes: ['generate'] })).expect(201).body,
      (await service.operator.post('/v1/operator_keys', { name: 'three', scopes: ['debits'] })).expect(201)
        .body,
    ];
    for (const { id, secret } of made) {
      // Used, refused, revoked, refused again, in a header and where it does not belong.
      await service.client(secret).get('/v1/api_keys');
      await service.client(secret).get('/v1/accounts');
      await service.client(secret).post('/v1/api_keys', { name: secret.slice(0, 3), scopes: ['x'] });
      await service.client(`${secret}x`).get('/v1/api_keys');
      await service.operator.delete(`/v1/accounts/${customer.accountId}/api_keys/${id}`);
      await service.client(secret).get('/v1/api_keys');

      const rows = await service.dataSource.query(
        'SELECT k::text AS text, k.secret_hash FROM api_keys k WHERE id = $1',
        [id],
      );
      expect(rows[0].text).not.toContain(secret.slice(7, 50));
      expect(rows[0].secret_hash).toEqual(createHash('sha256').update(secret).digest());
    }
    // A line is written when the answer is gone, a moment after the client has it.
    const last = (await service.client(made[0].secret).get('/v1/api_keys')).headers.get('x-request-id') ?? '';
    await eventually('the last request is logged', () => logged.includes(last));
    expect(logged).toContain('"route":"/v1/api_keys"');
    expect(logged).toContain(made[0].id);
    for (const { secret } of made) {
      expect(logged).not.toContain(secret.slice(7, 50));
      expect(logged).not.toContain(createHash('sha256').update(secret).digest('hex'));
    }
    expect(logged).not.toContain(customer.apiKey.slice(7, 50));
    expect(logged).not.toContain(service.operatorKey.slice(7, 50));
  });

  it('refuses a bad body by naming the field, and makes nothing', async () => {
    const customer = await service.createCustomer();
    const good = { name: 'Key', scopes: ['generate'] };
    const refused: [object, string][] = [
      [{ scopes: ['generate'] }, 'name'],
      [{ ...good, name: ' ' }, 'name'],
      [{ ...good, name: 'x'.repeat(201) }, 'name'],
      [{ name: 'Key' }, 'scopes'],
      [{ ...good, scopes: [] }, 'scopes'],
      [{ ...good, scopes: 'generate' }, 'scopes'],
      [{ ...good, scopes: ['generate', 'generate'] }, 'scopes'],
      [{ ...good, scopes: ['admin'] }, 'scopes'],
      [{ ...good, scopes: ['*'] }, 'scopes'],
      [{ ...good, scopes: [null] }, 'scopes'],
      [{ ...good, scopes: [['generate']] }, 'scopes'],
      [{ ...good, scopes: { 0: 'generate' } }, 'scopes'],
      [{ ...good, scopes: Array(5_000).fill('generate') }, 'scopes'],
      [{ ...good, expires_at: nowSeconds() }, 'expires_at'],
      [{ ...good, expires_at: nowSeconds() - 1 }, 'expires_at'],
      [{ ...good, expires_at: 0 }, 'expires_at'],
      [{ ...good, expires_at: -1 }, 'expires_at'],
      [{ ...good, expires_at: nowSeconds() + 0.5 }, 'expires_at'],
      [{ ...good, expires_at: String(nowSeconds() + 60) }, 'expires_at'],
      [{ ...good, expires_at: Date.now() }, 'expires_at'],
      [{ ...good, expires_at: '2999-01-01' }, 'expires_at'],
      [{ ...good, secret: 'sk-cof-mine' }, 'secret'],
      [{ ...good, account: 'acct_other' }, 'account'],
    ];
    const before = await countKeys();
    for (const [body, param] of refused) {
      for (const answer of [
        await createFor(customer, body),
        await customer.client.post('/v1/api_keys', body),
      ]) {
        expect(answer.expect(400).body.error).toMatchObject({ code: 'invalid_request', param });
      }
    }
    expect(await countKeys()).toBe(before);
    expect((await createFor(customer, { ...good, expires_at: null })).expect(201).body.expires_at).toBeNull();
  });

  it('is refused for an account that does not exist, the platform included', async () => {
    const body = { name: 'Key', scopes: ['generate'] };
    for (const id of ['acct_platform', 'acct_01KB2H7Q0000000000000000AA', '%00']) {
      for (const answer of [
        await service.operator.post(`/v1/accounts/${id}/api_keys`, body),
        await service.operator.get(`/v1/accounts/${id}/api_keys`),
        await service.operator.delete(`/v1/accounts/${id}/api_keys/key_01KB2H7Q0000000000000000AA`),
      ]) {
        expect(answer.expect(404).body.error.code).toBe('resource_missing');
      }
    }
  });

  it('stops at 1,000 keys that live or were made within a day', async () => {
    const customer = await service.createCustomer();
    const insert = `INSERT INTO api_keys (id, account_id, name, hint, secret_hash, scopes, created_at, revoked_at)
      SELECT 'key_' || lpad(n::text, 26, '0'), $1, 'old', 'x', sha256(n::text::bytea), ARRAY['generate'],
             now() - $2::interval, CASE WHEN $3 THEN now() END FROM generate_series($4::int, $5::int) n`;
    // Old and revoked ones do not count; old ones that live do, and so do fresh ones that were revoked.
    await service.dataSource.query(insert, [customer.accountId, '2 days', true, 1, 500]);
    await service.dataSource.query(insert, [customer.accountId, '2 days', false, 501, 900]);
    await service.dataSource.query(insert, [customer.accountId, '2 hours', true, 901, 1_498]);
    const body = { name: 'one more', scopes: ['generate'] };
    (await createFor(customer, body)).expect(201); // The 1,000th; the customer's own key was the 999th.
    const { error } = (await createFor(customer, body)).expect(400).body;
    expect(error).toMatchObject({ code: 'invalid_request', message: expect.stringMatching(/1000 keys/) });
    (await createFor(await service.createCustomer(), body)).expect(201);
  });

  it('is open to the first run, which has no key yet', async () => {
    const keys = service.app.get(ApiKeysService);
    const { secret } = await keys.createOperatorKey(
      { name: 'first', scopes: ['admin'], expiresAt: null },
      null,
    );
    const account = (await service.client(secret).post('/v1/accounts', { name: 'Demo' })).expect(201).body;
    const request = { name: 'demo', scopes: ['keys:write'] as const, expiresAt: null };
    const key = await keys.createAccountKey(account.id, request, null);
    (await service.client(key.secret).get('/v1/api_keys')).expect(200);
  });
});

describe('a key that makes keys', () => {
  it('never grants a scope that it does not have', async () => {
    const customer = await service.createCustomer({ scopes: ['keys:write', 'wallet:read'] });
    const before = await countKeys();
    for (const scopes of [['generate'], ['wallet:read', 'wallet:write'], ['keys:write', 'generate']]) {
      const { error } = (await customer.client.post('/v1/api_keys', { name: 'more', scopes })).expect(
        403,
      ).body;
      expect(error).toMatchObject({
        code: 'insufficient_scope',
        required_scope: scopes.at(-1) === 'generate' ? 'generate' : 'wallet:write',
      });
    }
    expect(await countKeys()).toBe(before);
    const child = (
      await customer.client.post('/v1/api_keys', { name: 'same', scopes: ['wallet:read', 'keys:write'] })
    ).expect(201);
    const grandchild = { name: 'more', scopes: ['generate'] };
    (await service.client(child.body.secret).post('/v1/api_keys', grandchild)).expect(403);
  });

  it('without keys:write makes none at all, and cannot read or revoke any', async () => {
    const customer = await service.createCustomer({ scopes: ['generate', 'wallet:read', 'wallet:write'] });
    for (const answer of [
      await customer.client.post('/v1/api_keys', { name: 'child', scopes: ['generate'] }),
      await customer.client.get('/v1/api_keys'),
      await customer.client.delete('/v1/api_keys/key_01KB2H7Q0000000000000000AA'),
    ]) {
      expect(answer.expect(403).body.error.required_scope).toBe('keys:write');
    }
  });

  it('never grants more to an operator key than it has, whatever admin may do to accounts', async () => {
    const admin = (
      await service.operator.post('/v1/operator_keys', { name: 'admin', scopes: ['admin'] })
    ).expect(201).body;
    const client = service.client(admin.secret);
    for (const scope of ['debits', 'finance']) {
      const { error } = (
        await client.post('/v1/operator_keys', { name: 'more', scopes: ['admin', scope] })
      ).expect(403).body;
      expect(error).toMatchObject({ code: 'insufficient_scope', required_scope: scope });
    }
    (await client.post('/v1/operator_keys', { name: 'same', scopes: ['admin'] })).expect(201);
    const customer = await service.createCustomer();
    const all = { name: 'all', scopes: ['generate', 'wallet:read', 'wallet:write', 'keys:write'] };
    (await client.post(`/v1/accounts/${customer.accountId}/api_keys`, all)).expect(201);
  });

  it('never outlives itself in the keys that it makes', async () => {
    const customer = await service.createCustomer();
    const expiresAt = nowSeconds() + 3_600;
    const brief = (
      await createFor(customer, { name: 'brief', scopes: ['keys:write'], expires_at: expiresAt })
    ).expect(201).body;
    const client = service.client(brief.secret);
    for (const expires_at of [undefined, null, expiresAt + 1]) {
      const { error } = (
        await client.post('/v1/api_keys', { name: 'longer', scopes: ['keys:write'], expires_at })
      ).expect(400).body;
      expect(error).toMatchObject({
        param: 'expires_at',
        message: expect.stringContaining(String(expiresAt)),
      });
    }
    (
      await client.post('/v1/api_keys', { name: 'as long', scopes: ['keys:write'], expires_at: expiresAt })
    ).expect(201);
  });

  it('makes none after it was revoked, not even where it is still let in', async () => {
    const customer = await service.createCustomer();
    // The other process knows the key as good for most of a second.
    second.clock.stop();
    const made = (await createFor(customer, { name: 'maker', scopes: ['keys:write'] })).expect(201).body;
    const elsewhere = second.client(made.secret);
    (await elsewhere.get('/v1/api_keys')).expect(200);
    (await service.operator.delete(`/v1/accounts/${customer.accountId}/api_keys/${made.id}`)).expect(200);
    const before = await countKeys();
    const answer = await elsewhere.post('/v1/api_keys', { name: 'late', scopes: ['keys:write'] });
    expect(answer.expect(401).body.error.code).toBe('revoked_api_key');
    expect(await countKeys()).toBe(before);
    (await elsewhere.get('/v1/api_keys')).expect(200);
  });
});

describe('revoking a key', () => {
  it('answers the same however often it is done, and keeps the first time', async () => {
    const customer = await service.createCustomer();
    const { id } = (await createFor(customer, { name: 'k', scopes: ['generate'] })).expect(201).body;
    const first = (await customer.client.delete(`/v1/api_keys/${id}`)).expect(200).body;
    expect(first).toMatchObject({ id, object: 'api_key', status: 'revoked', revoked_at: expect.any(Number) });
    const stored = () => service.dataSource.query('SELECT revoked_at FROM api_keys WHERE id = $1', [id]);
    const before = await stored();
    for (const { clock } of [service, second]) clock.letPass(5_000);
    const again = await Promise.all([
      ...Array.from({ length: 5 }, () => customer.client.delete(`/v1/api_keys/${id}`)),
      second.operator.delete(`/v1/accounts/${customer.accountId}/api_keys/${id}`),
    ]);
    for (const answer of again) expect(answer.expect(200).body).toEqual(first);
    expect(await stored()).toEqual(before);
    expect((await customer.client.get(`/v1/api_keys/${id}`)).expect(200).body).toEqual(first);
  });

  it('works on the key that asks for it', async () => {
    const customer = await service.createCustomer();
    const { id, secret } = (await createFor(customer, { name: 'self', scopes: ['keys:write'] })).expect(
      201,
    ).body;
    (await service.client(secret).delete(`/v1/api_keys/${id}`)).expect(200);
    expect((await service.client(secret).get('/v1/api_keys')).expect(401).body.error.code).toBe(
      'revoked_api_key',
    );
  });
});

describe("somebody else's key", () => {
  it('is a 404 for every method, and stays as it was', async () => {
    const [mine, theirs] = [await service.createCustomer(), await service.createCustomer()];
    const { id } = (await createFor(theirs, { name: 'theirs', scopes: ['generate'] })).expect(201).body;
    const operatorKey = (
      await service.operator.post('/v1/operator_keys', { name: 'op', scopes: ['debits'] })
    ).expect(201).body;
    const missing = 'key_01KB2H7Q0000000000000000AA';
    const textOf = (answer: TestAnswer, asked: string) =>
      JSON.stringify(answer.expect(404).body).replaceAll(asked, 'ID');
    const unknown = textOf(await mine.client.get(`/v1/api_keys/${missing}`), missing);
    for (const target of [id, operatorKey.id]) {
      // The answer is the same as for a key that does not exist.
      expect(textOf(await mine.client.get(`/v1/api_keys/${target}`), target)).toBe(unknown);
      expect(textOf(await mine.client.delete(`/v1/api_keys/${target}`), target)).toBe(unknown);
      (await service.operator.delete(`/v1/accounts/${mine.accountId}/api_keys/${target}`)).expect(404);
    }
    (await service.operator.get(`/v1/operator_keys/${id}`)).expect(404);
    (await service.operator.delete(`/v1/operator_keys/${id}`)).expect(404);
    expect((await theirs.client.get(`/v1/api_keys/${id}`)).expect(200).body.status).toBe('active');
    expect((await service.operator.get(`/v1/operator_keys/${operatorKey.id}`)).expect(200).body.status).toBe(
      'active',
    );
  });

  it('is in no list but its own', async () => {
    const [mine, theirs] = [await service.createCustomer(), await service.createCustomer()];
    const { id } = (await createFor(theirs, { name: 'theirs', scopes: ['generate'] })).expect(201).body;
    const idsOf = (answer: TestAnswer): string[] =>
      answer.expect(200).body.data.map((key: { id: string }) => key.id);
    expect(idsOf(await theirs.client.get('/v1/api_keys?limit=100'))).toContain(id);
    expect(idsOf(await mine.client.get('/v1/api_keys?limit=100'))).not.toContain(id);
    expect(idsOf(await service.operator.get('/v1/operator_keys?limit=100'))).not.toContain(id);
    // A cursor of another account only marks a place.
    expect(idsOf(await mine.client.get(`/v1/api_keys?limit=100&starting_after=${id}`))).toHaveLength(1);
    expect(idsOf(await mine.client.get(`/v1/api_keys?limit=100&ending_before=${id}`))).toEqual([]);
  });
});

describe('operator keys', () => {
  it('are made, listed, read and revoked by operators with the scope admin', async () => {
    const request = { name: 'Gateway', scopes: ['debits', 'finance'], expires_at: nowSeconds() + 60 };
    const { secret, ...shown } = (await service.operator.post('/v1/operator_keys', request)).expect(201).body;
    expect(parseApiKey(secret)).toBe('operator_key');
    expect(shown).toMatchObject({
      object: 'operator_key',
      status: 'active',
      ...request,
      hint: `op-cof-…${secret.slice(-4)}`,
    });
    expect(shown).not.toHaveProperty('account');
    expect((await service.operator.get(`/v1/operator_keys/${shown.id}`)).expect(200).body).toEqual(shown);
    expect((await service.operator.get('/v1/operator_keys?limit=1')).expect(200).body.data).toEqual([shown]);
    const client = service.client(secret);
    expect((await client.get('/v1/operator_keys')).expect(403).body.error.required_scope).toBe('admin');
    const revoked = (await service.operator.delete(`/v1/operator_keys/${shown.id}`)).expect(200).body;
    expect(revoked).toMatchObject({ id: shown.id, status: 'revoked' });
    (await client.get('/v1/operator_keys')).expect(401);
  });

  it('take operator scopes only', async () => {
    const { error } = (
      await service.operator.post('/v1/operator_keys', { name: 'x', scopes: ['generate'] })
    ).expect(400).body;
    expect(error).toMatchObject({ code: 'invalid_request', param: 'scopes' });
  });
});

describe('the database itself', () => {
  it('refuses a key with scopes of the other kind, none at all, or a secret that is no hash', async () => {
    const { accountId } = await service.createCustomer();
    const insert = (account: string | null, scopes: string[], hash: Buffer) =>
      service.dataSource.query(
        `INSERT INTO api_keys (id, account_id, name, hint, secret_hash, scopes, created_at)
         VALUES ('key_x', $1, 'x', 'x', $2, $3, now())`,
        [account, hash, scopes],
      );
    const hash = createHash('sha256').update('x').digest();
    await expect(insert(accountId, ['admin'], hash)).rejects.toThrow(/api_keys_scopes_of_kind/);
    await expect(insert(null, ['generate'], hash)).rejects.toThrow(/api_keys_scopes_of_kind/);
    await expect(insert(accountId, [], hash)).rejects.toThrow(/api_keys_scopes_of_kind/);
    await expect(insert(accountId, ['generate'], Buffer.from('sk-cof-secret'))).rejects.toThrow(
      /secret_hash_length/,
    );
    await expect(service.dataSource.query('DELETE FROM api_keys')).rejects.toThrow(/permission denied/);
  });
});
