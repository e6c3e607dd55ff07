import type { EventEmitter } from 'node:events';
import type { DataSourceOptions } from 'typeorm';
import { BoundedClient } from './bounded-client.js';
import { ENGINE_VERSION, ENGINE_VERSION_SETTING } from './engine-version.js';
import { loadSqlMigrations } from './sql-migrations.js';

/** Names the connections of the wallet engine, see `DatabaseModule`. */
export const ENGINE_DATA_SOURCE = 'engine';

/** How long a request may wait for a connection before it is refused with a 503. */
export const CONNECT_TIMEOUT_MS = 5_000;
/**
 * A new connection knows no plan and has an empty cache: its first batches take ten times as long. `pg` closes idle ones
 * after ten seconds, so every pause in the traffic would be followed by slow calls.
 */
const IDLE_TIMEOUT_MS = 5 * 60_000;
/** A statement that runs longer than this holds locks that everyone else waits for. */
export const STATEMENT_TIMEOUT_MS = 30_000;
/**
 * The server ends what takes longer than it may. A server process that stands still ends nothing, and a network that drops what
 * is sent says nothing: then the connection is closed from here.
 */
export const ANSWER_MARGIN_MS = 5_000;
/** A tx idles for some turns of the event loop. A process that stands still inside one keeps its locks for this long. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 5_000;
/** So that a connection through a firewall is not forgotten while it idles, and one that was is found out. */
const KEEP_ALIVE_AFTER_MS = 10_000;

const SESSION_SETTINGS = [
  `statement_timeout=${STATEMENT_TIMEOUT_MS}`,
  `idle_in_transaction_session_timeout=${IDLE_IN_TRANSACTION_TIMEOUT_MS}`,
  // Every statement of ours is over before a compiler would pay off, and a server compiles by its own estimate of the cost: on
  // PostgreSQL 15 to 17 half a second for each scan that the engine's settings avoid.
  'jit=off',
] as const;

/** For migrations: the owner's login. */
export function ownerDataSourceOptions(url: string): DataSourceOptions {
  return {
    type: 'postgres',
    url,
    migrations: loadSqlMigrations(),
    migrationsTableName: 'migrations',
    // A migration may correct rows of money, and is of the newest version by its nature.
    extra: { max: 1, options: `-c ${ENGINE_VERSION_SETTING}=${ENGINE_VERSION}` },
  };
}

/** For the running service: a login that owns nothing (`service-role.ts`). */
export function applicationDataSourceOptions(url: string, poolSize: number): DataSourceOptions {
  return dataSourceOptions(url, poolSize, STATEMENT_TIMEOUT_MS + ANSWER_MARGIN_MS);
}

/** For the wallet engine, which gives each of its packets a deadline of its own (`pipeline.ts`). */
export function engineDataSourceOptions(url: string, poolSize: number): DataSourceOptions {
  return dataSourceOptions(url, poolSize, undefined);
}

function dataSourceOptions(
  url: string,
  poolSize: number,
  queryTimeoutMs: number | undefined,
): DataSourceOptions {
  return {
    type: 'postgres',
    url,
    applicationName: 'coffer',
    // The pool hands a broken connection back as an error of the next query; nothing may crash the process.
    poolErrorHandler: () => undefined,
    extra: {
      max: poolSize,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      idleTimeoutMillis: IDLE_TIMEOUT_MS,
      Client: BoundedClient,
      query_timeout: queryTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
      // A connection can break in the moment that it is handed out, while neither the pool nor its user listens
      // to it; an error that nobody listens to ends the process. Its next query fails, and that is enough.
      onConnect: (client: EventEmitter) => void client.on('error', () => undefined),
      options: SESSION_SETTINGS.map((setting) => `-c ${setting}`).join(' '),
    },
  };
}
