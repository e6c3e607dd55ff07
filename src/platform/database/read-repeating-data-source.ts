import { DataSource, type QueryRunner, type ReplicationMode } from 'typeorm';
import { isSettledWithin } from '../common/time-limits.js';
import type { BoundedClient } from './bounded-client.js';
import { STATEMENT_TIMEOUT_MS } from './data-source.js';

/** A hundred times what a read by key takes. Slower ones are asked twice, and answered all the same. */
export const READ_AGAIN_AFTER_MS = 2_000;
/**
 * So many connections are given up in the time after which the server ends what was asked on them. While every read is slow, because
 * the server is overloaded or a migration holds a table, each of them would otherwise leave server processes behind, until
 * the server has no more.
 */
const GIVEN_UP_MAX = 3;

/** As TypeORM calls it: text, parameters, whether the whole result is wanted. */
type Query = (...statement: unknown[]) => Promise<unknown>;

/**
 * Reads outside of a tx are repeated over another connection when the first one is silent (ADR 51). Which they are, TypeORM says: it
 * asks for a query runner of the mode `slave` for them, and only for them. Whoever reads with SQL of its own uses `readRows`.
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
      // The time that it waits for a connection is none of the connection's silence.
      const client = (await runner.connect()) as BoundedClient;
      const answer = query(...statement);
      if ((await isSettledWithin(answer, READ_AGAIN_AFTER_MS)) || !this.mayGiveUp()) return answer;
      answer.catch(() => undefined);
      // Closed before it goes back to the pool, which then hands it to nobody.
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

/** Rows of a statement that changes nothing, outside of a tx. It may be run twice. */
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
