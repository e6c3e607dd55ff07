import { DataSource } from 'typeorm';
import { asPostgresError } from './constraints.js';
import { ENGINE_VERSION } from './engine-version.js';
import { sqlMigrationNames } from './sql-migrations.js';

/** A login, and what it may do beyond what the service needs, in words that follow its name. */
export type ServiceLogin = {
  readonly name: string;
  readonly mayMigrate: boolean;
  readonly excessPowers: readonly string[];
};

/**
 * An attacker who breaks into the service, or has its `DATABASE_URL`, must not reach these rights. The rights of a role that the
 * login is only a member of count as its own, because a `SET ROLE` is enough to use them.
 */
const EXAMINE = `
  WITH own AS (
    SELECT r.*, pg_has_role(session_user, d.datdba, 'MEMBER') AS owns_database,
           EXISTS (SELECT FROM pg_class t
                    WHERE t.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'graphile_worker'))
                      AND t.relkind IN ('r', 'p') AND pg_has_role(session_user, t.relowner, 'MEMBER')) AS owns_tables
      FROM pg_roles r, pg_database d
     WHERE r.rolname = session_user AND d.datname = current_database())
  SELECT rolname AS name, owns_database OR owns_tables AS "mayMigrate",
         CASE WHEN rolsuper THEN ARRAY['is a superuser'] ELSE array_remove(ARRAY[
           CASE WHEN owns_database THEN 'owns the database' END,
           CASE WHEN owns_tables AND NOT owns_database THEN 'owns tables' END,
           CASE WHEN rolcreaterole THEN 'may create roles' END,
           CASE WHEN rolcreatedb THEN 'may create databases' END,
           CASE WHEN rolreplication THEN 'may replicate' END,
           CASE WHEN rolbypassrls THEN 'bypasses row security' END,
           CASE WHEN EXISTS (SELECT FROM pg_roles p WHERE pg_has_role(session_user, p.oid, 'MEMBER') AND p.rolname IN (
                  'pg_write_all_data', 'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files'))
             THEN 'is a member of a role that reaches all data or the files of the server' END,
           CASE WHEN has_schema_privilege('public', 'CREATE') AND NOT owns_database THEN 'may create objects in the schema public' END,
           CASE WHEN NOT owns_tables AND has_table_privilege(to_regclass('public.transfers'), 'UPDATE, DELETE, TRUNCATE, TRIGGER')
             THEN 'may change ledger rows' END
         ], NULL) END AS "excessPowers"
    FROM own`;

export async function examineLogin(url: string): Promise<ServiceLogin> {
  return onConnection(url, async (database) => {
    const [login] = await database.query<ServiceLogin[]>(EXAMINE);
    if (login === undefined) throw new Error('the server does not say who is logged in');
    return login;
  });
}

/** Returns what prevents the service from running on the database, in a sentence; null when nothing does. */
export async function findObstacle(url: string): Promise<string | null> {
  return onConnection(url, async (database) => {
    const applied = await readMigrations(database);
    const pending = sqlMigrationNames().filter((name) => !applied.has(name));
    if (pending.length > 0) {
      return `The database of DATABASE_URL lacks ${pending.length} of this version's migrations, which its login may not run: run \`coffer migrate\` with MIGRATION_DATABASE_URL, the owner's login, first.`;
    }
    const [row] = await database.query<{ required: number; mayWrite: boolean }[]>(
      `SELECT required_engine_version() AS required, has_table_privilege('transfers', 'INSERT') AS "mayWrite"`,
    );
    if (row?.mayWrite !== true) {
      return "The login of DATABASE_URL lacks the privileges of the service: run `coffer migrate` with MIGRATION_DATABASE_URL, the owner's login, and this DATABASE_URL first.";
    }
    if (row.required > ENGINE_VERSION) {
      return 'The database of DATABASE_URL belongs to a newer version of Coffer, which this version could only harm: start that version.';
    }
    return null;
  });
}

const UNDEFINED_TABLE = '42P01';
const INSUFFICIENT_PRIVILEGE = '42501';

async function readMigrations(database: DataSource): Promise<ReadonlySet<string>> {
  try {
    const rows = await database.query<{ name: string }[]>('SELECT name FROM public.migrations');
    return new Set(rows.map(({ name }) => name));
  } catch (error) {
    // The database was never migrated, or not since the service may read this table.
    const code = asPostgresError(error)?.code;
    if (code === UNDEFINED_TABLE || code === INSUFFICIENT_PRIVILEGE) return new Set();
    throw error;
  }
}

async function onConnection<T>(url: string, work: (database: DataSource) => Promise<T>): Promise<T> {
  const database = await new DataSource({ type: 'postgres', url, extra: { max: 1 } }).initialize();
  try {
    return await work(database);
  } finally {
    await database.destroy();
  }
}
