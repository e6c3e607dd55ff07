import type { EventEmitter } from 'node:events';
import { DataSource, type DataSourceOptions, type QueryRunner, type ReplicationMode } from 'typeorm';
import { isSettledWithin } from '../common/clock.js';
import { BoundedClient } from './pipeline.js';
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

/** A hundred times the duration of a read by key. Slower reads are sent twice, and still answered. */
export const READ_AGAIN_AFTER_MS = 2_000;
/**
 * At most this many connections are closed within the time after which the server ends their queries. While every read is slow,
 * because the server is overloaded or a migration locks a table, each closed connection leaves a server process running, and
 * without a limit the server would run out of them.
 */
const GIVEN_UP_MAX = 3;

/** TypeORM's arguments: text, parameters, whether the whole result is wanted. */
type Query = (...statement: unknown[]) => Promise<unknown>;

/**
 * Reads outside of a tx are repeated over another connection when the first one is silent (ADR 51). TypeORM marks them: it asks
 * for a query runner of the mode `slave` for reads outside a tx, and only for them. Code with its own SQL uses `readRows`.
 */
export class ReadRepeatingDataSource extends DataSource {
  private givenUp = 0;

  override createQueryRunner(mode: ReplicationMode = 'master'): QueryRunner {
    const runner = super.createQueryRunner(mode);
    return mode === 'slave' ? this.repeatingReads(runner) : runner;
  }

  private repeatingReads(runner: QueryRunner): QueryRunner {
    let query = runner.query.bind(runner) as Query;
    let release = runner.release.bind(runner);
    let isFirst = true;
    const read: Query = async (...statement) => {
      if (!isFirst) return query(...statement);
      // Waiting for a connection does not count as the connection's silence.
      const client = (await runner.connect()) as BoundedClient;
      const answer = query(...statement);
      if ((await isSettledWithin(answer, READ_AGAIN_AFTER_MS)) || !this.mayGiveUp()) return answer;
      answer.catch(() => undefined);
      // It is closed before it returns to the pool, so that the pool does not hand it out again.
      void client.end();
      await release();
      const second = super.createQueryRunner();
      query = second.query.bind(second) as Query;
      release = second.release.bind(second);
      isFirst = false;
      return query(...statement);
    };
    runner.query = read as QueryRunner['query'];
    runner.release = () => release();
    return runner;
  }

  private mayGiveUp(): boolean {
    if (this.givenUp >= GIVEN_UP_MAX) return false;
    this.givenUp += 1;
    setTimeout(() => (this.givenUp -= 1), STATEMENT_TIMEOUT_MS).unref();
    return true;
  }
}

/** Returns the rows of a statement that changes nothing, outside of a tx. It may run twice. */
export async function readRows<Row>(
  dataSource: DataSource,
  text: string,
  values: readonly unknown[],
): Promise<Row[]> {
  const runner = dataSource.createQueryRunner('slave');
  try {
    return (await runner.query(text, [...values])) as Row[];
  } finally {
    await runner.release();
  }
}
