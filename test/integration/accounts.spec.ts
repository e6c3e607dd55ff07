import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { AccountsService } from '../../src/identity/accounts/accounts.service.js';
import { ResourceMissingError } from '../../src/platform/errors/common.errors.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

let service: TestApp;

// Its own: the list shows all accounts that there are.
beforeAll(async () => {
  service = await startTestApp();
});
afterAll(() => service.close());

async function createAccount(name: string): Promise<string> {
  return String((await service.operator.post('/v1/accounts', { name })).expect(201).body.id);
}

describe('creating an account', () => {
  it('answers 201 with the account that a read then shows', async () => {
    const beforeSeconds = Math.trunc(Date.now() / 1_000);
    const created = (await service.operator.post('/v1/accounts', { name: 'Acme Studio' })).expect(201).body;
    expect(created).toEqual({
      id: expect.stringMatching(/^acct_[0-9A-HJKMNP-TV-Z]{26}$/),
      object: 'account',
      name: 'Acme Studio',
      created: expect.any(Number),
    });
    expect(created.created).toBeGreaterThanOrEqual(beforeSeconds);
    expect(created.created).toBeLessThanOrEqual(Date.now() / 1_000);
    const read = await service.operator.get(`/v1/accounts/${created.id}`);
    expect(read.expect(200).body).toEqual(created);
  });

  it('takes any name that people can read, of up to 200 characters', async () => {
    for (const name of [
      'B',
      'Ωmega & Söhne "GmbH"',
      '東京スタジオ',
      '👩‍🎨 Atelier',
      "'; DROP TABLE accounts; --",
      '𝔄'.repeat(200),
    ]) {
      const created = (await service.operator.post('/v1/accounts', { name })).expect(201).body;
      expect((await service.operator.get(`/v1/accounts/${created.id}`)).body.name).toBe(name);
    }
  });

  it('refuses a bad body by naming the field, and creates nothing', async () => {
    const count = async () =>
      Number((await service.dataSource.query('SELECT count(*) FROM accounts'))[0].count);
    const before = await count();
    const refused: [unknown, string | null][] = [
      [{}, 'name'],
      [{ name: '' }, 'name'],
      [{ name: ' \u00a0 ' }, 'name'],
      [{ name: 'two\nlines' }, 'name'],
      [{ name: 'nul\u0000' }, 'name'],
      [{ name: 'half \ud800 a pair' }, 'name'],
      [{ name: 'x'.repeat(201) }, 'name'],
      [{ name: 5 }, 'name'],
      [{ name: null }, 'name'],
      [{ name: ['Acme'] }, 'name'],
      [{ name: 'Acme', id: 'acct_mine' }, 'id'],
      [[], null],
    ];
    for (const [body, param] of refused) {
      const { error } = (await service.operator.post('/v1/accounts', body)).expect(400).body;
      expect(error).toMatchObject({ code: 'invalid_request', type: 'invalid_request_error', param });
    }
    expect(await count()).toBe(before);
  });

  it('judges a megabyte of blanks in no time: the pattern reads a name once', async () => {
    const before = process.cpuUsage();
    (await service.operator.post('/v1/accounts', { name: `${' '.repeat(1_000_000)}\u0000` })).expect(400);
    (await service.operator.post('/v1/accounts', { name: `${'a'.repeat(1_000_000)}\u0000` })).expect(400);
    expect(process.cpuUsage(before).user / 1_000).toBeLessThan(2_000);
  });
});

describe('a name', () => {
  it.each([
    ['turns its direction', 'evil\u202egnp.exe'],
    ['isolates a direction', 'evil\u2067gnp.exe'],
    ['has a soft hyphen', 'ac\u00adme'],
    ['has an invisible mark', '\ufeffacme'],
    ['is of invisible characters alone', '\u200d\u200c'],
    ['has a second line', 'acme\u2028evil'],
  ])('that %s is refused', async (_what, name) => {
    const answer = await service.operator.post('/v1/accounts', { name });
    expect(answer.expect(400).body.error).toMatchObject({ code: 'invalid_request', param: 'name' });
  });

  it.each(['نمی‌خواهم', 'क्‍ष', '👩‍🚀 Labs', 'Ünïcode & Søns'])(
    'that is written so is taken: %s',
    async (name) => {
      expect((await service.operator.post('/v1/accounts', { name })).expect(201).body.name).toBe(name);
    },
  );
});

describe('the list of accounts', () => {
  it('walks through all of them, newest first, in both directions, without the platform', async () => {
    for (let index = 0; index < 7; index += 1) await createAccount(`Listed ${index}`);
    const all = (await service.operator.get('/v1/accounts?limit=100')).expect(200).body;
    expect(all).toMatchObject({ object: 'list', url: '/v1/accounts', has_more: false });
    const ids: string[] = all.data.map((account: { id: string }) => account.id);
    expect(ids).toEqual([...ids].sort().reverse());
    expect(ids).not.toContain('acct_platform');

    const forward: string[] = [];
    for (let more = true; more;) {
      const after = forward.length === 0 ? '' : `&starting_after=${forward.at(-1)}`;
      const page = (await service.operator.get(`/v1/accounts?limit=3${after}`)).expect(200).body;
      expect(page.data.length).toBeLessThanOrEqual(3);
      forward.push(...page.data.map((account: { id: string }) => account.id));
      more = page.has_more;
    }
    expect(forward).toEqual(ids);

    const newer = (await service.operator.get(`/v1/accounts?limit=2&ending_before=${ids[4]}`)).expect(
      200,
    ).body;
    expect(newer.data.map((account: { id: string }) => account.id)).toEqual([ids[2], ids[3]]);
    expect(newer.has_more).toBe(true);
    const newest = (await service.operator.get(`/v1/accounts?ending_before=${ids[0]}`)).expect(200).body;
    expect(newest).toMatchObject({ data: [], has_more: false });
  });

  it('returns ten when asked for no number', async () => {
    for (let index = 0; index < 5; index += 1) await createAccount(`Default ${index}`);
    const page = (await service.operator.get('/v1/accounts')).expect(200).body;
    expect(page.data).toHaveLength(10);
    expect(page.has_more).toBe(true);
  });

  it('refuses limits and cursors that are none', async () => {
    const queries: [string, string][] = [
      ['limit=0', 'limit'],
      ['limit=101', 'limit'],
      ['limit=-1', 'limit'],
      ['limit=1.5', 'limit'],
      ['limit=many', 'limit'],
      ['starting_after=acct_platform', 'starting_after'],
      ['starting_after=%00', 'starting_after'],
      ["ending_before=acct_' OR 1=1", 'ending_before'],
      ['offset=5', 'offset'],
    ];
    for (const [query, param] of queries) {
      const { error } = (await service.operator.get(`/v1/accounts?${query}`)).expect(400).body;
      expect(error).toMatchObject({ code: 'invalid_request', param });
    }
  });
});

describe('an account that does not exist', () => {
  it('is a 404, and so is the book of the platform: it is no customer', async () => {
    const ids = [
      'acct_platform',
      'acct_01KB2H7Q0000000000000000AA',
      'acct_',
      'x',
      '%00',
      '..%2f',
      'key_01KB2H7Q0000000000000000AA',
    ];
    for (const id of ids) {
      const { error } = (await service.operator.get(`/v1/accounts/${id}`)).expect(404).body;
      expect(error).toMatchObject({ code: 'resource_missing', type: 'not_found' });
    }
  });

  it('is refused to other modules as well', async () => {
    const accounts = service.app.get(AccountsService);
    await expect(accounts.require('acct_platform', 'account')).rejects.toMatchObject({
      code: 'resource_missing',
      param: 'account',
    });
    await expect(accounts.require('acct_01KB2H7Q0000000000000000AA')).rejects.toBeInstanceOf(
      ResourceMissingError,
    );
  });
});

describe('the routes of accounts', () => {
  it('are for operators with the scope admin only', async () => {
    const customer = await service.createCustomer();
    const debits = (
      await service.operator.post('/v1/operator_keys', { name: 'gateway', scopes: ['debits'] })
    ).expect(201);
    for (const client of [customer.client, service.client(String(debits.body.secret))]) {
      for (const answer of [
        await client.get('/v1/accounts'),
        await client.get(`/v1/accounts/${customer.accountId}`),
        await client.post('/v1/accounts', { name: 'Mine' }),
      ]) {
        expect(answer.expect(403).body.error).toMatchObject({
          code: 'insufficient_scope',
          required_scope: 'admin',
        });
      }
    }
  });
});
