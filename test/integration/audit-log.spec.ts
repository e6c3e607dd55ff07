import { hash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { auditHash } from '../../src/identity/audit-log/audit-chain.js';
import { DOCTOR_SNAPSHOT, findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { proveAuditLog } from '../../src/finance/audit/prove-audit-log.js';
import { Snapshot, type SnapshotClient } from '../../src/platform/database/snapshot.js';
import type { Discrepancy } from '../../src/finance/audit/proof/discrepancy.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';

type View = {
  readonly id: string;
  readonly at: string;
  readonly actor: string;
  readonly act: string;
  readonly object_type: string;
  readonly object_id: string;
  readonly account: string | null;
  readonly before: Record<string, unknown> | null;
  readonly after: Record<string, unknown> | null;
  readonly reason: string | null;
  readonly request_id: string | null;
  readonly client_address: string | null;
  readonly seq: string | null;
  readonly hash: string | null;
};

let app: TestApp;
let owner: Client;
let customer: TestCustomer;

beforeAll(async () => {
  app = await startTestApp();
  owner = new Client({ connectionString: app.databaseUrl });
  await owner.connect();
  customer = await app.createCustomer();
});
afterAll(async () => {
  await owner.end();
  await app.close();
});

const list = async (query = ''): Promise<View[]> =>
  (await app.operator.get(`/v1/audit_log?limit=100${query}`)).expect(200).body.data as View[];

describe('an event of the audit log', () => {
  it('says who did what to what, when, why and from where, and what changed', async () => {
    const limits = `/v1/accounts/${customer.accountId}/limits`;
    const set = (images_per_minute: number, reason: string) =>
      app.operator.send('PUT', limits, { body: { images_per_minute, reason } });
    (await set(5, 'a trial')).expect(200);
    const answer = (await set(50, 'a contract')).expect(200);
    const [event] = await list(`&account=${customer.accountId}&act=account.limits_changed`);
    expect(event).toMatchObject({
      object: 'audit_event',
      id: expect.stringMatching(/^aud_/),
      actor: 'operator_key:key_env',
      object_type: 'account',
      object_id: customer.accountId,
      account: customer.accountId,
      before: { images_per_minute: 5, requests_per_minute: null, concurrent_requests: null },
      after: { images_per_minute: 50, requests_per_minute: null, concurrent_requests: null },
      reason: 'a contract',
      request_id: answer.headers.get('x-request-id'),
      client_address: '127.0.0.1',
    });
  });

  it('says for how long an API key repeats answers, before and after it was changed', async () => {
    const { client, accountId } = await app.createCustomer();
    const key = (await client.post('/v1/api_keys', { name: 'k', scopes: ['generate'] })).expect(201);
    const body = { duplicate_window_seconds: 30 };
    (await client.send('PATCH', `/v1/api_keys/${key.body.id}`, { body })).expect(200);
    const [event] = await list(`&account=${accountId}&act=api_key.duplicate_window_changed`);
    expect(event).toMatchObject({ before: { duplicate_window_seconds: 0 }, after: body });
  });

  it('is found by account, actor, act and time, page by page', async () => {
    const other = await app.createCustomer();
    const [created] = await list(`&account=${other.accountId}&act=account.created`);
    expect(created?.after).toEqual({ name: 'Test customer' });
    (await other.client.post('/v1/api_keys', { name: 'second', scopes: ['generate'] })).expect(201);
    const [made] = await list(`&account=${other.accountId}&act=api_key.created`);
    expect(made?.actor).toMatch(/^account_key:key_/);
    expect(await list(`&actor=${encodeURIComponent(made?.actor ?? '')}`)).toEqual([made]);
    const at = encodeURIComponent(made?.at ?? '');
    expect(await list(`&account=${other.accountId}&from=${at}`)).toEqual([made]);
    const before = await list(`&account=${other.accountId}&to=${at}`);
    expect(before.map(({ act }) => act)).toEqual(['api_key.created', 'account.created']);
    const page = await app.operator.get(
      `/v1/audit_log?limit=1&starting_after=${made?.id}&account=${other.accountId}`,
    );
    expect(page.expect(200).body).toMatchObject({ has_more: true, data: [before[0]] });
    (await app.operator.get('/v1/audit_log?from=yesterday')).expect(400);
    (await app.operator.get('/v1/audit_log?act=account.exploded')).expect(400);
    (await customer.client.get('/v1/audit_log')).expect(403);
  });

  it('is written in the commit of its act: neither is there without the other', async () => {
    const events = async () => (await list(`&account=${customer.accountId}`)).length;
    const before = await events();
    await owner.query('ALTER TABLE audit_events ADD CONSTRAINT no_more CHECK (false) NOT VALID');
    try {
      for (const [path, body] of [
        [`/v1/accounts/${customer.accountId}/grants`, { amount_micros: '1000000', reason: 'never given' }],
        [`/v1/accounts/${customer.accountId}/api_keys`, { name: 'never made', scopes: ['generate'] }],
        ['/v1/operator_keys', { name: 'never made', scopes: ['admin'] }],
        ['/v1/accounts', { name: 'Never made' }],
      ] as const) {
        expect((await app.operator.post(path, body)).status).toBe(500);
      }
      expect((await app.operator.get(`/v1/accounts/${customer.accountId}/wallet`)).status).toBe(500);
    } finally {
      await owner.query('ALTER TABLE audit_events DROP CONSTRAINT no_more');
    }
    expect((await customer.client.get('/v1/wallet')).expect(200).body.posted_micros).toBe('0');
    expect((await customer.client.get('/v1/api_keys')).expect(200).body.data).toHaveLength(1);
    expect(await events()).toBe(before);
    const refused = await app.operator.post(`/v1/accounts/${customer.accountId}/adjustments`, {
      amount_micros: '-1',
      reason: 'more than there is',
    });
    refused.expect(402);
    expect(await events()).toBe(before);
  });

  it('is there once for an act that is sent again, and not for one that changes nothing', async () => {
    const account = `/v1/accounts/${customer.accountId}`;
    const grant = { amount_micros: '1000000', reason: 'sent twice' };
    const key = { 'idempotency-key': 'grant-once' };
    for (let time = 1; time <= 2; time += 1) {
      (await app.operator.post(`${account}/grants`, grant, key)).expect(201);
      (await app.operator.post(`${account}/freeze`, { reason: 'fraud' })).expect(200);
    }
    for (const act of ['credit.granted', 'wallet.frozen']) {
      expect(await list(`&account=${customer.accountId}&act=${act}`)).toHaveLength(1);
    }
    (await app.operator.post(`${account}/unfreeze`, { reason: 'no fraud' })).expect(200);
  });

  it('cannot be changed, neither by the service nor by the owner of the tables', async () => {
    for (const table of ['audit_events', 'audit_seals', 'audit_head']) {
      for (const sql of [`DELETE FROM ${table}`, `TRUNCATE ${table} CASCADE`]) {
        await expect(owner.query(sql)).rejects.toThrow('the audit log is never changed');
        await expect(app.dataSource.query(sql)).rejects.toThrow('permission denied');
      }
    }
    for (const sql of [
      "UPDATE audit_events SET actor = 'nobody'",
      'UPDATE audit_seals SET seq = seq + 1',
      "UPDATE audit_head SET hash = decode(repeat('00', 32), 'hex')",
    ]) {
      await expect(owner.query(sql)).rejects.toThrow('the audit log is never changed');
      await expect(app.dataSource.query(sql)).rejects.toThrow('permission denied');
    }
    const forged = `INSERT INTO audit_events (id, at, actor, act, object_type, object_id)
                    VALUES ('aud_x', '2020-01-01', 'system', 'account.read', 'account', 'x')`;
    await expect(app.dataSource.query(forged)).rejects.toThrow('permission denied');
  });

  it('is sealed by the database alone: the service can neither write a seal nor call what writes it', async () => {
    for (const sql of [
      `INSERT INTO audit_seals SELECT seq + 1, 1, hash FROM audit_head`,
      `INSERT INTO audit_head SELECT 1, seq, hash FROM audit_head`,
      `SELECT FROM audit_head FOR UPDATE`,
      `SELECT seal_audit_event(e) FROM audit_events e`,
      `CREATE TEMP TABLE events_of_mine (LIKE audit_events);
       CREATE TRIGGER mine AFTER INSERT ON events_of_mine FOR EACH ROW EXECUTE FUNCTION seal_inserted_audit_event()`,
      'ALTER TABLE audit_events DISABLE TRIGGER audit_events_sealed',
      `SET session_replication_role = 'replica'`,
    ]) {
      await expect(app.dataSource.query(sql)).rejects.toThrow(/permission denied|must be owner/);
    }
  });

  it.each([
    ['a number that is not whole', '{"share": 0.5}'],
    ['a number that a double does not hold', '{"deep": [{"micros": 9007199254740993}]}'],
    ['a name whose place depends on the encoding', '{"deep": {"größe": 1}}'],
  ])('has one spelling: the database refuses %s', async (_, details) => {
    for (const column of ['before', 'after']) {
      const sql = `INSERT INTO audit_events (id, actor, act, object_type, object_id, ${column})
                   VALUES ('aud_x', 'system', 'account.read', 'account', 'x', $1)`;
      await expect(app.dataSource.query(sql, [details])).rejects.toMatchObject({
        driverError: { constraint: 'audit_events_one_spelling' },
      });
    }
  });
});

describe('the chain of the audit log', () => {
  it('is computed again from what the route lists, by nothing but SHA-256 and JSON', async () => {
    const events: View[] = [];
    for (let cursor = ''; ;) {
      const { body } = (await app.operator.get(`/v1/audit_log?limit=10${cursor}`)).expect(200);
      events.push(...(body.data as View[]));
      if (body.has_more !== true) break;
      cursor = `&starting_after=${events.at(-1)?.id}`;
    }
    const sealed = events.filter(({ seq }) => seq !== null).sort((a, b) => Number(a.seq) - Number(b.seq));
    expect(sealed.length).toBeGreaterThan(5);
    expect(sealed.map(({ seq }) => Number(seq))).toEqual(sealed.map((_, index) => index + 1));
    let previous = '0'.repeat(64);
    for (const event of sealed) {
      const { seq, id, at, actor, act, object_type, object_id, account } = event;
      const { before, after, reason, request_id, client_address } = event;
      const fields = [seq, id, at, actor, act, object_type, object_id, account];
      const row = [...fields, before, after, reason, request_id, client_address];
      previous = hash('sha256', `${previous}\n${JSON.stringify(row, sortedMembers)}`, 'hex');
      expect(event.hash).toBe(previous);
    }
  });

  it.each([
    ['an event is rewritten', "UPDATE audit_events SET actor = 'nobody' WHERE number = $1", ['hash']],
    ['an event is deleted', 'DELETE FROM audit_events WHERE number = $1', ['event_number']],
    // The gap, and the event.
    ['a seal is deleted', 'DELETE FROM audit_seals WHERE event_number = $1', ['seq', 'seq']],
    [
      'the last event and its seal are deleted',
      `WITH last AS (DELETE FROM audit_seals WHERE seq = (SELECT max(seq) FROM audit_seals) RETURNING event_number)
       DELETE FROM audit_events WHERE number = (SELECT event_number FROM last) AND $1::bigint > 0`,
      ['hash'],
    ],
    [
      'an event was added that nothing sealed',
      `INSERT INTO audit_events (id, actor, act, object_type, object_id)
       SELECT 'aud_forged', 'system', 'account.read', 'account', 'x' WHERE $1::bigint > 0`,
      ['seq'],
    ],
  ])('shows the doctor that %s', async (_, harm, columns) => {
    expect(await auditFindings()).toEqual([]);
    const [victim] = await app.dataSource.query<{ number: string }[]>(
      'SELECT event_number AS number FROM audit_seals ORDER BY seq OFFSET 3 LIMIT 1',
    );
    await owner.query('BEGIN');
    try {
      await owner.query(`
        ALTER TABLE audit_events DISABLE TRIGGER USER; ALTER TABLE audit_seals DISABLE TRIGGER USER;
        ALTER TABLE audit_seals DROP CONSTRAINT audit_seals_event_number_fkey`);
      await owner.query(harm, [victim?.number]);
      const found: Discrepancy[] = [];
      // The changes of the open tx, which no other session sees.
      const query = (sql: unknown) =>
        typeof sql === 'string' ? Promise.resolve() : owner.query(sql as never);
      const snapshot = await Snapshot.open({ query } as SnapshotClient, DOCTOR_SNAPSHOT);
      await proveAuditLog(snapshot, (discrepancy) => found.push(discrepancy));
      expect(found.map(({ column }) => column)).toEqual(columns);
      expect(found).toEqual(
        found.map(() => expect.objectContaining({ table: expect.stringMatching(/^audit_/) })),
      );
    } finally {
      await owner.query('ROLLBACK');
    }
  });

  it('covers every field: none can be another without another hash', () => {
    const event = {
      id: 'aud_1',
      at: '2026-11-30T00:00:00.000Z',
      actor: 'system',
      act: 'account.read',
      objectType: 'account',
      objectId: 'acct_1',
      accountId: 'acct_1',
      before: { b: 1, a: [true, null] },
      after: null,
      reason: null,
      requestId: null,
      clientAddress: null,
    };
    const original = auditHash('00', 1, event);
    expect(auditHash('00', 1, { ...event, before: { a: [true, null], b: 1 } })).toBe(original);
    const others = Object.keys(event).map((name) => auditHash('00', 1, { ...event, [name]: 'another' }));
    const all = [original, auditHash('01', 1, event), auditHash('00', 2, event), ...others];
    expect(new Set(all).size).toBe(all.length);
  });

  it('is the one that the README of the module describes', () => {
    const readme = readFileSync(new URL('../../src/identity/audit-log/README.md', import.meta.url), 'utf8');
    const [, previous = '', text = '', expected = ''] =
      /```text\n([0-9a-f]{64})\n(\[.*\])\n```\n[^`]*`([0-9a-f]{64})`/.exec(readme) ?? [];
    expect(hash('sha256', `${previous}\n${text}`, 'hex')).toBe(expected);
  });
});

async function auditFindings() {
  const found = await findDiscrepancies(app.dataSource);
  return found.filter(({ table }) => table.startsWith('audit_'));
}

/** As RFC 8785 has it, for `JSON.stringify`. */
function sortedMembers(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}
