import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { migrate } from '../../src/platform/database/migrate.js';
import { PRIVILEGES, readPrivileges, wantedPrivileges } from '../../src/platform/database/privileges.js';
import { examineLogin } from '../../src/platform/database/service-login.js';
import { APPLICATION_ROLE } from '../../src/platform/database/service-role.js';
import { loadSqlMigrations } from '../../src/platform/database/sql-migrations.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const INSUFFICIENT_PRIVILEGE = '42501';
/** The books, what they follow from, and who may write them. */
const LEDGER_TABLES = [
  'transfers',
  'wallets',
  'credit_lots',
  'holds',
  'wallet_freezes',
  'wallet_status_changes',
  'key_budgets',
  'accounts',
  'api_keys',
  'prices',
  'top_ups',
  'refunds',
  'disputes',
  'catalog_versions',
  'migrations',
] as const;

/** Of any table, whatever its line in `privileges.ts` says. */
const beyondAnyTable = (table: string): string[] => [
  `TRUNCATE ${table}`,
  `DROP TABLE ${table} CASCADE`,
  `ALTER TABLE ${table} DISABLE TRIGGER ALL`,
  `ALTER TABLE ${table} DISABLE TRIGGER USER`,
  `ALTER TABLE ${table} ADD COLUMN note text`,
  `ALTER TABLE ${table} OWNER TO CURRENT_USER`,
  `CREATE TRIGGER mine BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
  `CREATE RULE mine AS ON UPDATE TO ${table} DO INSTEAD NOTHING`,
  `CREATE INDEX mine ON ${table} ((1))`,
];

const beyondAnyLogin = (owner: string): string[] => [
  `SET ROLE ${owner}`,
  'SET ROLE postgres',
  `SET SESSION AUTHORIZATION ${owner}`,
  `SET session_replication_role = 'replica'`,
  'CREATE ROLE mine LOGIN',
  'ALTER ROLE CURRENT_USER CREATEROLE',
  'ALTER ROLE CURRENT_USER SUPERUSER',
  `ALTER ROLE CURRENT_USER SET coffer.engine_version = '99'`,
  `GRANT ${owner} TO CURRENT_USER`,
  'CREATE DATABASE mine',
  'CREATE SCHEMA mine',
  'CREATE TABLE public.mine (id int)',
  'CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql RETURN 1',
  `CREATE OR REPLACE FUNCTION public.required_engine_version() RETURNS int LANGUAGE sql RETURN 0`,
  'ALTER FUNCTION public.refuse_ledger_change() RENAME TO harmless',
  'DROP FUNCTION public.refuse_ledger_change() CASCADE',
  'DROP SCHEMA public CASCADE',
  'CREATE EXTENSION dblink',
  `COPY transfers TO PROGRAM 'cat'`,
  `COPY accounts (id) FROM PROGRAM 'echo acct_x'`,
  `COPY transfers TO '/tmp/transfers'`,
  `SELECT pg_read_file('/etc/passwd')`,
  `SELECT lo_import('/etc/passwd')`,
  'ALTER SYSTEM SET fsync = off',
  'DROP TABLE graphile_worker._private_jobs',
  'DELETE FROM graphile_worker.migrations',
];

/** What the line of the table leaves out: whole verbs, and the columns that an update may not set. */
function beyondItsLine(table: string, columns: readonly string[]): string[] {
  const granted = PRIVILEGES[table] ?? '';
  const wanted = new Set(wantedPrivileges(table));
  const hostile = wanted.has('DELETE') ? [] : [`DELETE FROM ${table}`];
  if (!granted.includes('INSERT')) hostile.push(`INSERT INTO ${table} DEFAULT VALUES`);
  if (wanted.has('UPDATE')) return hostile;
  const fixed = columns.filter((column) => !wanted.has(`UPDATE (${column})`));
  return [...hostile, ...fixed.map((column) => `UPDATE ${table} SET ${column} = DEFAULT`)];
}

describe('the login of the service', () => {
  let database: TestDatabase;
  let owner: DataSource;
  let service: pg.Client;
  let columnsOf: ReadonlyMap<string, readonly string[]>;

  beforeAll(async () => {
    database = await createTestDatabase();
    owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    service = new pg.Client({ connectionString: database.serviceUrl });
    await service.connect();
    const rows = await owner.query<{ table: string; columns: string[] }[]>(
      `SELECT table_name AS "table", array_agg(column_name::text) AS columns FROM information_schema.columns
        WHERE table_schema = 'public' AND is_generated = 'NEVER' GROUP BY 1`,
    );
    columnsOf = new Map(rows.map(({ table, columns }) => [table, columns]));
  });

  afterAll(async () => {
    await service.end();
    await owner.destroy();
    await database.drop();
  });

  async function codeOf(sql: string): Promise<string> {
    try {
      // The way out of a role that was only stepped into.
      await service.query('RESET ROLE; SET ROLE NONE');
      await service.query(sql);
      return 'done';
    } catch (error) {
      return error instanceof pg.DatabaseError ? (error.code ?? '') : String(error);
    }
  }

  /** Nothing is kept of what it allows. */
  async function tried(sql: string): Promise<string> {
    await service.query('BEGIN');
    const code = await codeOf(sql);
    await service.query('ROLLBACK');
    return code;
  }

  async function notRefused(
    statements: readonly string[],
    answer: (sql: string) => Promise<string>,
  ): Promise<string[]> {
    const allowed: string[] = [];
    for (const sql of statements) {
      const code = await answer(sql);
      if (code !== INSUFFICIENT_PRIVILEGE) allowed.push(`${sql}: ${code}`);
    }
    return allowed;
  }

  it('may do with each table exactly what its line in privileges.ts says, and each table has one', async () => {
    const granted = await readPrivileges(owner, APPLICATION_ROLE);
    expect(granted.map(({ table }) => table).sort()).toEqual(Object.keys(PRIVILEGES).sort());
    const differing = granted.filter(
      ({ table, granted: has }) => [...has].sort().join() !== wantedPrivileges(table).join(),
    );
    expect(differing).toEqual([]);
  });

  it('is refused whatever would change history, keys or rules, over every table of the ledger', async () => {
    const statements = LEDGER_TABLES.flatMap((table) => [
      ...beyondAnyTable(table),
      ...beyondItsLine(table, columnsOf.get(table) ?? []),
    ]);
    expect(statements.length).toBeGreaterThan(200);
    expect(statements).toEqual(
      expect.arrayContaining([
        'UPDATE transfers SET amount_micros = DEFAULT',
        'DELETE FROM transfers',
        'UPDATE api_keys SET secret_hash = DEFAULT',
        'UPDATE api_keys SET scopes = DEFAULT',
        'UPDATE api_keys SET account_id = DEFAULT',
        'DELETE FROM api_keys',
        'UPDATE holds SET amount_micros = DEFAULT',
        'UPDATE credit_lots SET granted_micros = DEFAULT',
      ]),
    );
    expect(await notRefused(statements, tried)).toEqual([]);
  });

  it('is refused whatever would make it more than it is', async () => {
    // Not in a tx: some of these are refused in one for another reason.
    expect(await notRefused(beyondAnyLogin(new URL(database.url).username), codeOf)).toEqual([]);
  });

  it('cannot make a wallet that begins with credit', async () => {
    expect(await tried(`INSERT INTO wallets (account_id, posted_micros) VALUES ('acct_platform', 1)`)).toBe(
      INSUFFICIENT_PRIVILEGE,
    );
  });

  it('is distinguished from the owner’s, which production refuses', async () => {
    expect(await examineLogin(database.serviceUrl)).toMatchObject({ mayMigrate: false, excessPowers: [] });
    expect(await examineLogin(database.url)).toMatchObject({
      mayMigrate: true,
      excessPowers: expect.arrayContaining(['owns the database', 'may create roles']),
    });
  });

  it('is what the list says again after a run of the migrations, whatever was granted by hand', async () => {
    await owner.query(`GRANT DELETE, TRUNCATE ON transfers TO ${APPLICATION_ROLE}; REVOKE INSERT ON holds FROM ${APPLICATION_ROLE};
                       GRANT UPDATE (scopes) ON api_keys TO ${APPLICATION_ROLE}; CREATE TABLE without_a_line (id int)`);
    expect(await tried('DELETE FROM transfers')).toBe('done');
    await migrate(database.url, database.serviceUrl);
    expect(await tried('DELETE FROM transfers')).toBe(INSUFFICIENT_PRIVILEGE);
    expect(await tried(`UPDATE api_keys SET scopes = '{}'`)).toBe(INSUFFICIENT_PRIVILEGE);
    expect(await tried('SELECT FROM without_a_line')).toBe(INSUFFICIENT_PRIVILEGE);
    expect(
      (await readPrivileges(owner, APPLICATION_ROLE)).find(({ table }) => table === 'holds')?.granted,
    ).toContain('INSERT');
  });

  it('keeps what a newer version has given it when this one runs its migrations after that', async () => {
    await owner.query(`INSERT INTO migrations (timestamp, name) VALUES (9999999999999, 'OfANewerVersion9999999999999');
                       CREATE TABLE of_a_newer_version (id int);
                       GRANT SELECT ON of_a_newer_version TO ${APPLICATION_ROLE}`);
    await migrate(database.url, database.serviceUrl);
    expect(await tried('SELECT FROM of_a_newer_version')).toBe('done');
  });
});

describe('a migration', () => {
  it('says nothing of roles by itself: a login that may make none can run it', async () => {
    const statements: string[] = [];
    const runner = { query: (sql: string) => Promise.resolve(void statements.push(sql)) };
    for (const migration of loadSqlMigrations()) await new migration().up(runner as never);
    const withoutComments = statements.map((sql) => sql.replace(/--.*$/gm, ''));
    expect(withoutComments.filter((sql) => /\bcoffer_app\b|\bCREATE ROLE\b/.test(sql))).toEqual([]);
  });
});
