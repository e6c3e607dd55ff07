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
 * A new connection has no plans and an empty cache: its first batches take ten times as long. `pg` closes idle connections after
 * ten seconds by default, so slow calls would follow every pause in the traffic.
 */
const IDLE_TIMEOUT_MS = 5 * 60_000;
/** A statement that runs longer than this holds locks that all other callers wait for. */
export const STATEMENT_TIMEOUT_MS = 30_000;
/**
 * The server ends what takes longer than allowed. But a server process that hangs ends nothing, and a network that drops
 * packets reports nothing: in these cases, this process closes the connection after this additional time.
 */
export const ANSWER_MARGIN_MS = 5_000;
/** A tx is idle for a few iterations of the event loop. A process that pauses inside one keeps its locks for at most this long. */
const IDLE_IN_TRANSACTION_TIMEOUT_MS = 5_000;
/** Keeps a firewall from dropping an idle connection, and detects one that was dropped. */
const KEEP_ALIVE_AFTER_MS = 10_000;

const SESSION_SETTINGS = [
  `statement_timeout=${STATEMENT_TIMEOUT_MS}`,
  `idle_in_transaction_session_timeout=${IDLE_IN_TRANSACTION_TIMEOUT_MS}`,
  // Every statement of Coffer is over before compiling it would pay off, and a server compiles by its own estimate of the cost: on
  // PostgreSQL 15 to 17, that took half a second for each scan that the engine's settings avoid.
  'jit=off',
] as const;

/** For migrations, with the owner's login. */
export function ownerDataSourceOptions(url: string): DataSourceOptions {
  return {
    type: 'postgres',
    url,
    migrations: loadSqlMigrations(),
    migrationsTableName: 'migrations',
    // A migration may correct rows of money, and always belongs to the newest version.
    extra: { max: 1, options: `-c ${ENGINE_VERSION_SETTING}=${ENGINE_VERSION}` },
  };
}

/** For the running service, with a login that owns nothing (`service-role.ts`). */
export function applicationDataSourceOptions(url: string, poolSize: number): DataSourceOptions {
  return dataSourceOptions(url, poolSize, STATEMENT_TIMEOUT_MS + ANSWER_MARGIN_MS);
}

/** For the wallet engine, which gives each of its packets its own deadline (`pipeline.ts`). */
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
    // The pool reports a broken connection as an error of the next query, so this event must not end the process.
    poolErrorHandler: () => undefined,
    extra: {
      max: poolSize,
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      idleTimeoutMillis: IDLE_TIMEOUT_MS,
      Client: BoundedClient,
      query_timeout: queryTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: KEEP_ALIVE_AFTER_MS,
      // A connection can break at the moment when it is handed out, while neither the pool nor its user listens
      // to it; an error event without a listener ends the process. The next query fails, which is enough.
      onConnect: (client: EventEmitter) => void client.on('error', () => undefined),
      options: SESSION_SETTINGS.map((setting) => `-c ${setting}`).join(' '),
    },
  };
}
