import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { isConnectionFailure } from '../../src/platform/database/constraints.js';
import { applicationDataSourceOptions } from '../../src/platform/database/data-source.js';
import { PacketTimeoutError, runTogether, type StatementCall } from '../../src/platform/database/pipeline.js';
import { CleanUp } from '../support/clean-up.js';
import { MutableProxy } from '../support/database/mutable-proxy.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const call = (
  name: string,
  text: string,
  ...values: NonNullable<StatementCall['values']>
): StatementCall => ({
  statement: { name, text },
  values,
});

/** A statement that works or fails as its parameter says. */
const divide = (by: number): StatementCall => call('divide', 'SELECT 6 / $1::int AS quotient', by);

describe('statements that are sent together', () => {
  let database: TestDatabase;
  let pool: pg.Pool;
  let client: pg.PoolClient;

  beforeAll(async () => {
    database = await createTestDatabase();
    pool = new pg.Pool({ connectionString: database.url, max: 1 });
    await pool.query('CREATE TABLE marks (id int PRIMARY KEY)');
  });

  beforeEach(async () => {
    client = await pool.connect();
    client.on('error', () => undefined);
  });

  afterEach(() => client.release(true));

  afterAll(async () => {
    await pool.end();
    await database.drop();
  });

  it('answer one list of rows each, with every type that the wallets use', async () => {
    const calls = [
      call('begin', 'BEGIN'),
      call('numbers', 'SELECT n, n * 10 AS tenfold FROM generate_series(1, $1::int) n', 2),
      call(
        'texts',
        'SELECT a, b FROM unnest($1::text[], $2::bigint[]) AS v (a, b)',
        ['plain', `"quo'ted", \\ {}`, null, 'NULL', ''],
        ['9007199254740993', 1, null, 2, 3],
      ),
      call('nothing', 'SELECT 1 AS one WHERE false'),
      call('commit', 'COMMIT'),
    ];
    const expected = [
      [],
      [
        { n: 1, tenfold: 10 },
        { n: 2, tenfold: 20 },
      ],
      [
        { a: 'plain', b: '9007199254740993' },
        { a: `"quo'ted", \\ {}`, b: '1' },
        { a: null, b: null },
        { a: 'NULL', b: '2' },
        { a: '', b: '3' },
      ],
      [],
      [],
    ];
    expect(await runTogether(client, calls)).toEqual(expected);
    // The second time they are prepared already, and nothing describes their columns any more.
    expect(await runTogether(client, calls)).toEqual(expected);
  });

  it('are prepared once a connection, and each sees what those before it wrote', async () => {
    const insert = (id: number) => call('insert_mark', 'INSERT INTO marks VALUES ($1::int)', id);
    const count = call('count_marks', 'SELECT count(*)::int AS marks FROM marks');
    expect(await runTogether(client, [insert(1), count, insert(2)])).toEqual([[], [{ marks: 1 }], []]);
    expect(await runTogether(client, [count])).toEqual([[{ marks: 2 }]]);
    const { rows } = await client.query('SELECT name FROM pg_prepared_statements ORDER BY name');
    expect(rows).toEqual([{ name: 'count_marks' }, { name: 'insert_mark' }]);
  });

  it('stop at the first that fails: none after it is run, least of all a COMMIT', async () => {
    const insert = call('insert_mark', 'INSERT INTO marks VALUES ($1::int)', 3);
    const calls = [call('begin', 'BEGIN'), insert, divide(0), insert, call('commit', 'COMMIT')];
    await expect(runTogether(client, calls)).rejects.toMatchObject({ code: '22012' });
    await client.query('ROLLBACK');
    expect((await client.query('SELECT 1 FROM marks WHERE id = 3')).rowCount).toBe(0);
  });

  it('are one tx even without a BEGIN: all of them are kept, or none', async () => {
    const insert = (id: number) => call('insert_mark', 'INSERT INTO marks VALUES ($1::int)', id);
    await expect(runTogether(client, [insert(4), divide(0)])).rejects.toMatchObject({ code: '22012' });
    const xid = call('xid', 'SELECT pg_current_xact_id()::text AS xid');
    const [, before, , after] = await runTogether(client, [insert(5), xid, insert(6), xid]);
    expect(after).toEqual(before);
    const { rows } = await client.query('SELECT id FROM marks WHERE id BETWEEN 4 AND 6 ORDER BY id');
    expect(rows).toEqual([{ id: 5 }, { id: 6 }]);
  });

  it('may be sent again after any of them failed, prepared before or not', async () => {
    await expect(runTogether(client, [divide(0), divide(2)])).rejects.toMatchObject({ code: '22012' });
    expect(await runTogether(client, [divide(2), divide(3)])).toEqual([[{ quotient: 3 }], [{ quotient: 2 }]]);
    await expect(runTogether(client, [divide(1), divide(0)])).rejects.toMatchObject({ code: '22012' });
    expect(await runTogether(client, [divide(6)])).toEqual([[{ quotient: 1 }]]);
    const unknown = call('unknown', 'SELECT * FROM no_such_table');
    await expect(runTogether(client, [unknown])).rejects.toMatchObject({ code: '42P01' });
    await expect(runTogether(client, [unknown])).rejects.toMatchObject({ code: '42P01' });
  });

  it('learn their columns again when a migration has changed them', async () => {
    await client.query('CREATE TABLE grown (a int); INSERT INTO grown VALUES (1)');
    const all = call('all_grown', 'SELECT * FROM grown');
    expect(await runTogether(client, [all])).toEqual([[{ a: 1 }]]);
    await client.query('ALTER TABLE grown ADD b int DEFAULT 2');
    // The server refuses the old plan once, which rolls back whatever was under way.
    await expect(runTogether(client, [all])).rejects.toMatchObject({ code: '0A000' });
    expect(await runTogether(client, [all])).toEqual([[{ a: 1, b: 2 }]]);
  });

  it('reject when the connection ends under them', async () => {
    const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    const waiting = runTogether(client, [call('sleep', 'SELECT pg_sleep(60)'), call('commit', 'COMMIT')]);
    const other = new pg.Client({ connectionString: database.url });
    await other.connect();
    const refused = expect(waiting).rejects.toThrow();
    await other.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid]);
    await other.end();
    await refused;
    // Whether the socket or the driver is first to say so.
    const error: unknown = await runTogether(client, [divide(1)]).catch((reason: unknown) => reason);
    expect(isConnectionFailure(error)).toBe(true);
  });

  it('reject after their deadline, and the silent connection is used for nothing more', async () => {
    const cleanUp = new CleanUp();
    const proxy = await MutableProxy.start(database.url, cleanUp);
    const proxied = new pg.Pool({ connectionString: proxy.url, max: 1 });
    cleanUp.add(() => proxied.end());
    try {
      const silent = await proxied.connect();
      proxy.mute();
      await expect(runTogether(silent, [divide(1)], 50)).rejects.toThrow(PacketTimeoutError);
      const error: unknown = await runTogether(silent, [divide(1)]).catch((reason: unknown) => reason);
      expect(isConnectionFailure(error)).toBe(true);
      silent.release();
      const next = await proxied.connect();
      expect(await runTogether(next, [divide(1)], 10_000)).toEqual([[{ quotient: 6 }]]);
      next.release();
    } finally {
      await cleanUp.run();
    }
  });
});

describe('a query of the service whose connection is open and silent', () => {
  it('fails as a lost connection does, and the next one gets another connection', async () => {
    const cleanUp = new CleanUp();
    const database = await createTestDatabase();
    cleanUp.add(() => database.drop());
    const proxy = await MutableProxy.start(database.url, cleanUp);
    const options = applicationDataSourceOptions(proxy.url, 1);
    const dataSource = await new DataSource({
      ...options,
      // The service's own limit is longer than any statement may run.
      extra: { ...options.extra, query_timeout: 50 },
    }).initialize();
    cleanUp.add(() => dataSource.destroy());
    try {
      proxy.mute();
      const error: unknown = await dataSource.query('SELECT 1').catch((reason: unknown) => reason);
      expect(isConnectionFailure(error)).toBe(true);
      const inTransaction = dataSource.transaction(async (tx) => {
        proxy.mute();
        await tx.query('SELECT 1');
      });
      expect(isConnectionFailure(await inTransaction.catch((reason: unknown) => reason))).toBe(true);
      expect(await dataSource.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    } finally {
      await cleanUp.run();
    }
  });

  it('has a limit of its own, whatever the server says', () => {
    const { extra } = applicationDataSourceOptions('postgres://127.0.0.1/coffer', 1);
    expect(extra).toMatchObject({ query_timeout: 35_000, keepAlive: true });
  });
});
