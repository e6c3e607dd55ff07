import { randomBytes } from 'node:crypto';
import pg from 'pg';

/** Set by jest's globalSetup, inherited by its workers. */
export const SERVER_URL_VARIABLE = 'COFFER_TEST_SERVER_URL';
export const TEMPLATE_VARIABLE = 'COFFER_TEST_TEMPLATE';
/** The address of the template as the service logs in. */
export const SERVICE_URL_VARIABLE = 'COFFER_TEST_SERVICE_URL';
/** Of the tests' temporary directories; the pid of the process that made one follows. */
export const DIRECTORY_PREFIX = 'coffer-test-';

export type TestDatabase = {
  /** As the role that owns the database. */
  readonly url: string;
  /** As the service logs in, with the rights of the service only. */
  readonly serviceUrl: string;
  /** Removes it, and whatever is still connected to it. */
  drop(): Promise<void>;
};

/**
 * A migrated, empty database of the caller's own, cloned in some 20 ms (`postgres-server.ts`). One per test file:
 *
 *   let database: TestDatabase;
 *   beforeAll(async () => (database = await createTestDatabase()));
 *   afterAll(() => database.drop());
 *
 * What is not dropped goes with the run's server.
 */
export async function createTestDatabase(): Promise<TestDatabase> {
  const serverUrl = required(SERVER_URL_VARIABLE);
  const template = required(TEMPLATE_VARIABLE);
  const name = template.replace(/_template$/, `_${randomBytes(6).toString('hex')}`);
  // Copies the files; the default strategy writes every page to the log, which takes twice as long here.
  await run(serverUrl, `CREATE DATABASE ${name} TEMPLATE ${template} STRATEGY FILE_COPY`);
  return {
    url: databaseAt(serverUrl, name),
    serviceUrl: databaseAt(required(SERVICE_URL_VARIABLE), name),
    drop: () => dropDatabase(serverUrl, name),
  };
}

/** The same database as the service logs in; what is on another server, or has that login already, stays as it is. */
export function asService(url: string): string {
  const { host, username } = new URL(required(SERVER_URL_VARIABLE));
  const given = new URL(url);
  if (given.host !== host || given.username !== username) return url;
  return databaseAt(required(SERVICE_URL_VARIABLE), given.pathname.slice(1));
}

/** The same server and role, another database. */
export function databaseAt(serverUrl: string, name: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

const INSUFFICIENT_PRIVILEGE = '42501';

/**
 * With whatever is connected to it. Where autovacuum works in it, only a superuser may end all of that by FORCE; the server ends
 * its own work by itself when nothing else is connected.
 */
export async function dropDatabase(serverUrl: string, name: string): Promise<void> {
  try {
    await run(serverUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError) || error.code !== INSUFFICIENT_PRIVILEGE) throw error;
    await run(
      serverUrl,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}' AND usename IS NOT NULL`,
    );
    await run(serverUrl, `DROP DATABASE IF EXISTS ${name}`);
  }
}

async function run(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

function required(variable: string): string {
  const value = process.env[variable];
  if (value === undefined)
    throw new Error(`${variable} is not set: run this with \`npm test\` (globalSetup)`);
  return value;
}
