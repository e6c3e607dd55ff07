import type { ClientBase } from 'pg';
import type { DataSource } from 'typeorm';
import { ANSWER_MARGIN_MS } from './data-source.js';

/** The part of a connection that a snapshot needs; a `pg.Client` and a pool's client both have it. */
export type SnapshotClient = Pick<ClientBase, 'query'>;

/** Every value as the text that Postgres sends, in column order: values are not converted, so they are not rounded. */
export type TextRow = readonly (string | null)[];

export type SnapshotOptions = {
  /** How long one statement may run; the application's own limit is meant for charges, not for whole ledgers. */
  readonly statementSecondsMax: number;
  /** How long a reader may leave the snapshot idle before the server ends it, because an open snapshot delays clean-up. */
  readonly idleSecondsMax: number;
};

/** The number of rows of a FETCH: enough to make the round trip cheap, few enough to need little memory. */
export const BATCH_ROWS = 1_000;

const ANSWERED_AS_TEXT = {
  rowMode: 'array',
  types: { getTypeParser: () => (text: string) => text },
} as const;

/**
 * One consistent, read-only view of the whole database: every read through it shows the same moment, regardless of later
 * commits, and it takes no lock that a charge could wait for. Large results are read through server-side cursors, so
 * memory use stays constant. The caller must always close it.
 */
export class Snapshot {
  private lastQuery: Promise<unknown> = Promise.resolve();
  private cursors = 0;

  private constructor(
    private readonly client: SnapshotClient,
    private readonly answerMsMax: number,
    private readonly release: () => Promise<void>,
  ) {}

  static async open(
    client: SnapshotClient,
    options: SnapshotOptions,
    release: () => Promise<void> = () => Promise.resolve(),
  ): Promise<Snapshot> {
    const answerMsMax = options.statementSecondsMax * 1_000 + ANSWER_MARGIN_MS;
    const snapshot = new Snapshot(client, answerMsMax, release);
    try {
      await client.query('BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY');
      await client.query(
        `SET LOCAL statement_timeout = '${options.statementSecondsMax}s';
         SET LOCAL idle_in_transaction_session_timeout = '${options.idleSecondsMax}s';
         SET LOCAL work_mem = '64MB'; SET LOCAL timezone = 'UTC'; SET LOCAL jit = off`,
      );
      return snapshot;
    } catch (error) {
      await snapshot.close();
      throw error;
    }
  }

  /** Opens one on a connection of the pool, which `close` returns. */
  static async ofPool(dataSource: DataSource, options: SnapshotOptions): Promise<Snapshot> {
    const runner = dataSource.createQueryRunner();
    try {
      const client = (await runner.connect()) as SnapshotClient;
      return await Snapshot.open(client, options, () => runner.release());
    } catch (error) {
      await runner.release();
      throw error;
    }
  }

  /** Returns a result that is known to be small. */
  async rows(text: string, values: readonly (string | null)[] = []): Promise<TextRow[]> {
    // `pg` has a time limit for each query, but its types do not.
    const query = { text, values: [...values], ...ANSWERED_AS_TEXT, query_timeout: this.answerMsMax };
    const result = await this.inSequence(() => this.client.query<string[]>(query));
    return result.rows;
  }

  /**
   * Returns a result of any size, in batches. The next batch is read while the caller works on this one; no more than these
   * two are in memory. Several cursors may be read alternately.
   */
  async *stream(text: string, values: readonly (string | null)[] = []): AsyncGenerator<readonly TextRow[]> {
    const cursor = `c${(this.cursors += 1)}`;
    await this.rows(`DECLARE ${cursor} NO SCROLL CURSOR FOR ${text}`, values);
    const fetch = (): Promise<TextRow[]> => {
      const batch = this.rows(`FETCH ${BATCH_ROWS} FROM ${cursor}`);
      // A caller that awaits the batch gets its failure; a caller that stops reading earlier must not crash the process.
      batch.catch(() => undefined);
      return batch;
    };
    let next = fetch();
    for (;;) {
      const batch = await next;
      if (batch.length === BATCH_ROWS) next = fetch();
      if (batch.length > 0) yield batch;
      if (batch.length < BATCH_ROWS) return;
    }
  }

  /** Ends the view. It never throws: a broken connection has already ended it. */
  async close(): Promise<void> {
    await this.inSequence(() => this.client.query('ROLLBACK')).catch(() => undefined);
    await this.release();
  }

  /** Runs one query at a time, because the driver's own queue of queries is deprecated. */
  private inSequence<T>(query: () => Promise<T>): Promise<T> {
    const result = this.lastQuery.then(query);
    this.lastQuery = result.catch(() => undefined);
    return result;
  }
}
