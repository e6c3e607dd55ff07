import { randomBytes } from 'node:crypto';
import { isAlive } from '../processes.js';
import { chmod, mkdtemp, readdir, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import type { ClusterLogins } from '../../../src/bootstrap/embedded-postgres/cluster.js';
import {
  findEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../../src/bootstrap/embedded-postgres/embedded-postgres.js';
import { ENGINE_VERSION, ENGINE_VERSION_SETTING } from '../../../src/platform/database/engine-version.js';
import { migrateDatabase } from '../../../src/bootstrap/migrate-database.js';
import {
  databaseAt,
  DIRECTORY_PREFIX,
  dropDatabase,
  SERVER_URL_VARIABLE,
  SERVICE_URL_VARIABLE,
  TEMPLATE_VARIABLE,
} from './test-database.js';

/** One PostgreSQL for the whole test run, with a migrated template that every test file clones. */
export type TestServer = { stop(): Promise<void> };

/** A test database is thrown away; anyone who tests durability starts a server with the real settings. */
const TEST_SETTINGS = {
  fsync: 'off',
  synchronous_commit: 'off',
  full_page_writes: 'off',
  max_connections: '300', // Several jest workers, each with a few services and their pools.
  max_wal_size: '256MB',
};

/**
 * Linux keeps these files in memory. Cloning the template makes hundreds of files, and where the disk is slow with
 * new ones a clone took 550 ms instead of 22.
 */
const MEMORY_DIR = '/dev/shm';
/** Twenty databases at a time, of some 20 MB each, and the log. Containers often have 64 MB there. */
const MEMORY_BYTES_MIN = 2 * 1024 ** 3;

/**
 * Starts the run's server, or uses the one that TEST_DATABASE_URL names (whose role may create databases and
 * roles), and hands the address to the workers through the environment, which they inherit.
 */
export async function startTestServer(): Promise<TestServer> {
  const external = process.env['TEST_DATABASE_URL'];
  const server =
    external === undefined
      ? await startOwnServer()
      : { ownerUrl: external, url: withNewLogin(external), stop: nothingToStop };
  const ownerUrl = withEngineVersion(server.ownerUrl);
  // The run's name leads all its databases, so that runs can share an external server.
  const run = `coffer_test_${process.pid}_${randomBytes(3).toString('hex')}`;
  const template = `${run}_template`;
  try {
    await query(ownerUrl, `CREATE DATABASE ${template}`);
    await migrateDatabase(databaseAt(ownerUrl, template), databaseAt(server.url, template));
    if (external !== undefined) await letOwnerEndSessions(ownerUrl, server.url);
    // No one may be connected to a database while it is cloned.
    await query(ownerUrl, `ALTER DATABASE ${template} ALLOW_CONNECTIONS false`);
  } catch (error) {
    await server.stop();
    throw error;
  }
  process.env[SERVER_URL_VARIABLE] = ownerUrl;
  process.env[SERVICE_URL_VARIABLE] = server.url;
  process.env[TEMPLATE_VARIABLE] = template;
  return {
    stop: async () => {
      if (external !== undefined) {
        await dropDatabases(external, run);
        await query(external, `DROP ROLE ${pg.escapeIdentifier(new URL(server.url).username)}`);
      }
      await server.stop();
    },
  };
}

/** Specs that put rows of money where they need them, or damage them, do it as the owner. */
function withEngineVersion(ownerUrl: string): string {
  const url = new URL(ownerUrl);
  url.searchParams.set('options', `-c ${ENGINE_VERSION_SETTING}=${ENGINE_VERSION}`);
  return url.href;
}

/** A login for the service of this run, which migrating makes. */
function withNewLogin(ownerUrl: string): string {
  const url = new URL(ownerUrl);
  url.username = `coffer_test_${process.pid}_${randomBytes(3).toString('hex')}`;
  url.password = randomBytes(12).toString('hex');
  return url.href;
}

/** Specs read and end the service's sessions as the owner, which on a server of its own is no superuser: a member may as well. */
async function letOwnerEndSessions(ownerUrl: string, serviceUrl: string): Promise<void> {
  await query(ownerUrl, `GRANT ${pg.escapeIdentifier(new URL(serviceUrl).username)} TO CURRENT_USER`);
}

async function startOwnServer(): Promise<ClusterLogins & { stop(): Promise<void> }> {
  await removeLeftovers(tmpdir());
  await removeLeftovers(MEMORY_DIR);
  const parent = (await bytesFreeIn(MEMORY_DIR)) >= MEMORY_BYTES_MIN ? MEMORY_DIR : tmpdir();
  const dataDir = await mkdtemp(path.join(parent, `${DIRECTORY_PREFIX}${process.pid}-`));
  await chmod(dataDir, 0o711); // For root, whose server runs as another user.
  const server = await startEmbeddedPostgres({
    dataDir,
    settings: TEST_SETTINGS,
    log: (level, message) => process.stderr.write(`test database, ${level}: ${message}\n`),
  });
  return {
    ...server,
    stop: async () => {
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** Of runs that were killed: their servers have stopped by themselves, their directories are still there. */
async function removeLeftovers(parent: string): Promise<void> {
  for (const name of await readdir(parent).catch(() => [])) {
    const pid = new RegExp(`^${DIRECTORY_PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    const dir = path.join(parent, name);
    if ((await findEmbeddedPostgres(dir)) !== undefined) continue;
    await rm(dir, { recursive: true, force: true }).catch(() => undefined); // Another user's.
  }
}

/** Zero where there is no such directory. */
async function bytesFreeIn(dir: string): Promise<number> {
  const stats = await statfs(dir).catch(() => null);
  return stats === null ? 0 : stats.bavail * stats.bsize;
}

async function dropDatabases(url: string, prefix: string): Promise<void> {
  const sql = `SELECT datname FROM pg_database WHERE starts_with(datname, $1)`;
  for (const { datname } of await query<{ datname: string }>(url, sql, [prefix])) {
    await dropDatabase(url, datname);
  }
}

async function query<Row extends pg.QueryResultRow>(
  url: string,
  sql: string,
  values: readonly string[] = [],
): Promise<Row[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Row>(sql, [...values])).rows;
  } finally {
    await client.end();
  }
}

function nothingToStop(): Promise<void> {
  return Promise.resolve();
}
