import { DataSource, type QueryRunner, type ReplicationMode } from 'typeorm';
import { isSettledWithin } from '../common/time-limits.js';
import type { BoundedClient } from './bounded-client.js';
import { STATEMENT_TIMEOUT_MS } from './data-source.js';

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
