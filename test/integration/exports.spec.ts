import { get, type IncomingMessage, request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import pg from 'pg';
import { BATCH_ROWS, Snapshot } from '../../src/platform/database/snapshot.js';
import { takeApart, verdictOf } from '../support/wallet/export-files.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';
import type { TestClient } from '../support/app/test-client.js';

/** Far more than the sockets between two processes hold: a client that does not read makes the server wait. */
const BULK_ROWS = 60_000;
const BULK_ACCOUNT = 'acct_bulk';

let app: TestApp;
let owner: pg.Client;

beforeAll(async () => {
  app = await startTestApp();
  owner = new pg.Client({ connectionString: app.databaseUrl });
  await owner.connect();
  for (const name of ['One', 'Two']) {
    const { accountId } = await app.createCustomer({ name, grantMicros: 10_000_000n });
    for (const reference of ['a', 'b', 'c']) {
      const debit = { account: accountId, reference, amount_micros: '40000' };
      (await app.operator.post('/v1/debits', debit)).expect(201);
    }
  }
});
afterAll(async () => {
  await owner.end();
  await app.close();
});

describe('GET /v1/exports/ledger', () => {
  it.each([
    ['csv', 'text/csv; charset=utf-8; header=present'],
    ['jsonl', 'application/x-ndjson; charset=utf-8'],
  ])('downloads the whole ledger as %s, and the file proves itself', async (format, type) => {
    const response = await download(`format=${format}`);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe(type);
    expect(response.headers.get('content-disposition')).toBe(
      `attachment; filename="coffer-ledger.${format}"`,
    );
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(await verdictOf(await response.text())).toMatchObject({ ok: true, summary: { accounts: 2 } });
    await expectBooksToBalance(app.dataSource);
  });

  it('exports one account, and names the range in the file name', async () => {
    const { rows } = takeApart(await (await download('format=jsonl')).text());
    const account = rows[0]?.account_id as string;
    const response = await download(
      `format=csv&account=${account}&from=2026-01-01&to=2099-01-01T00:00:00.5Z`,
    );
    expect(response.headers.get('content-disposition')).toBe(
      `attachment; filename="coffer-ledger_${account}_2026-01-01_2099-01-01T000000500Z.csv"`,
    );
    expect(await verdictOf(await response.text())).toMatchObject({
      ok: true,
      summary: { accounts: 1, end: { account, rows: '4', from: '2026-01-01T00:00:00.000Z' } },
    });
    const empty = await download(`format=csv&account=acct_platform&to=2026-01-02`);
    expect(await verdictOf(await empty.text())).toMatchObject({ ok: true, summary: { accounts: 0 } });
  });

  it('is for operators with the scope finance only', async () => {
    const customer = await app.createCustomer();
    const key = await app.operator.post('/v1/operator_keys', { name: 'charges', scopes: ['debits'] });
    const charges = app.client(String(key.expect(201).body.secret));
    const books = await app.operator.post('/v1/operator_keys', { name: 'books', scopes: ['finance'] });
    const finance = app.client(String(books.expect(201).body.secret));
    const ask = (client: TestClient) => client.get('/v1/exports/ledger?format=csv');
    expect((await ask(app.client(null))).expect(401).body.error.code).toBe('missing_api_key');
    expect((await ask(customer.client)).expect(403).body.error.code).toBe('insufficient_scope');
    expect((await ask(charges)).expect(403).body.error.code).toBe('insufficient_scope');
    (await ask(finance)).expect(200);
  });

  it.each([
    ['', 'format', 'csv, jsonl'],
    ['format=parquet', 'format', 'csv, jsonl'],
    ['format=hledger', 'format', 'csv, jsonl'],
    ['format=csv&format=jsonl', 'format', 'csv, jsonl'],
    ['format=csv&from=2026-02-30', 'from', '2026-11-01'],
    ['format=csv&from=yesterday', 'from', '2026-11-01'],
    ['format=csv&from=1795329561', 'from', '2026-11-01'],
    ['format=csv&to=2026-13-01T00:00:00Z', 'to', '2026-11-01'],
    ['format=csv&to=2026-11-01T24:00:00Z', 'to', '2026-11-01'],
    ['format=csv&to=2026-11-01T00:00:00', 'to', '2026-11-01'],
    ['format=csv&from=2026-11-01T00:00:00+01:00', 'from', '%2B'],
    ['format=csv&from=2026-11-01&to=2026-11-01', 'to', 'later than from'],
    ['format=csv&from=2026-11-02&to=2026-11-01', 'to', 'later than from'],
    ['format=csv&month=2026-11', 'month', 'Unknown field'],
  ])('refuses %j and names the parameter', async (query, param, hint) => {
    const { error } = (await app.operator.get(`/v1/exports/ledger?${query}`)).expect(400).body;
    expect(error).toMatchObject({ type: 'invalid_request_error', param });
    expect(error.message).toContain(hint);
  });

  it('refuses an account that does not exist', async () => {
    const { error } = (await app.operator.get('/v1/exports/ledger?format=csv&account=acct_nobody')).expect(
      404,
    ).body;
    expect(error).toMatchObject({ code: 'resource_missing', param: 'account' });
  });

  it('reads an offset as the moment that it means', async () => {
    const response = await download('format=jsonl&from=2026-11-01T01:00:00%2B02:00');
    expect(takeApart(await response.text()).end.from).toBe('2026-10-31T23:00:00.000Z');
  });
});

describe('a download of a ledger that does not fit into memory', () => {
  beforeAll(async () => {
    await owner.query(
      `INSERT INTO transfers
       SELECT $1, n, 'txn_bulk_' || lpad(n::text, 12, '0'), 'debit', 'customer_credit', 'usage_revenue', 1, NULL, 0,
              'debit:' || n, 0, 'lnk', 'system', repeat('x', 400), '2026-06-01', sha256(n::text::bytea)
         FROM generate_series(1, $2::int) AS n`,
      [BULK_ACCOUNT, BULK_ROWS],
    );
  });

  it('waits for a client that does not read, with nothing more than a batch in hand', async () => {
    const rows = jest.spyOn(Snapshot.prototype, 'rows');
    const fetches = (): number => rows.mock.calls.filter(([text]) => text.startsWith('FETCH')).length;
    try {
      const client = await openDownload();
      let before = 0;
      await eventually('it waits', async () => {
        before = fetches();
        // The service does other work in the meantime, in which it could have fetched many batches.
        for (let call = 0; call < 20; call += 1) (await app.operator.get('/v1/accounts')).expect(200);
        return fetches() === before;
      });
      // What the client does not take is not fetched.
      expect(before * BATCH_ROWS).toBeLessThan(BULK_ROWS / 2);
      client.destroy();
      await waitingCursors(0);
    } finally {
      rows.mockRestore();
    }
  });

  it('shows the ledger as of its beginning, whatever is charged while it runs', async () => {
    const client = await openDownload();
    await waitingCursors(1);
    const customer = await app.createCustomer({ grantMicros: 1_000_000n });
    const text = await rest(client);
    expect(text).toContain(BULK_ACCOUNT);
    expect(text).not.toContain(customer.accountId);
    const { rows, end } = takeApart(text);
    expect(end.rows).toBe(String(rows.length));
    expect(await waitingCursors(0)).toEqual([]);
  });

  it('breaks when the database fails in the middle, so that no client takes the part for the whole', async () => {
    const client = await openDownload();
    const [cursor] = await waitingCursors(1);
    await owner.query('SELECT pg_terminate_backend($1)', [cursor?.pid]);
    await expect(rest(client)).rejects.toThrow(/aborted|ECONNRESET/);
    await waitingCursors(0);
    (await app.operator.get('/v1/exports/ledger?format=csv&account=acct_platform')).expect(200);
  });

  it('frees the connection when the client goes away, however often', async () => {
    for (let round = 0; round < 5; round += 1) {
      const client = await openDownload();
      await waitingCursors(1);
      client.destroy();
      await waitingCursors(0);
    }
  });

  it('runs two at a time, and says to the third when to come back', async () => {
    const clients = [await openDownload(), await openDownload()];
    const answer = (await app.operator.get('/v1/exports/ledger?format=csv')).expect(429);
    expect(answer.body.error.code).toBe('concurrency_limit_exceeded');
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    clients.forEach((client) => client.destroy());
    await waitingCursors(0);
    (await app.operator.get('/v1/exports/ledger?format=csv&account=acct_platform')).expect(200);
  });

  it('keeps no connection for a HEAD request', async () => {
    for (let round = 0; round < 3; round += 1) {
      const head = request(`${app.url}/v1/exports/ledger?format=csv`, { method: 'HEAD', headers: headers() });
      const response = await new Promise<IncomingMessage>((resolve) => head.on('response', resolve).end());
      expect(response.statusCode).toBe(200);
      await waitingCursors(0);
    }
  });
});

const headers = () => ({ authorization: `Bearer ${app.operatorKey}` });

function download(query: string): Promise<Response> {
  return fetch(`${app.url}/v1/exports/ledger?${query}`, { headers: headers() });
}

/** Begins a download and reads nothing of it. */
function openDownload(): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const url = `${app.url}/v1/exports/ledger?format=jsonl`;
    get(url, { headers: headers(), agent: false }, resolve).on('error', reject);
  });
}

async function rest(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

type Cursor = { readonly pid: number };

/** The service's connections that wait in the middle of a cursor, once there are `count` of them. */
async function waitingCursors(count: number): Promise<Cursor[]> {
  let waiting: Cursor[] = [];
  await eventually(`${count} cursors wait`, async () => {
    const { rows } = await owner.query<Cursor>(
      `SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'
          AND query LIKE 'FETCH%'`,
    );
    const { rows: open } = await owner.query<Cursor>(
      // Autovacuum may look at the rows that were just written, and is no download.
      `SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND state <> 'idle'`,
    );
    waiting = rows;
    return rows.length === count && open.length === count;
  });
  return waiting;
}
