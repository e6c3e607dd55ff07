import type { ClientBase } from 'pg';
import type { DataSource } from 'typeorm';
import { ANSWER_MARGIN_MS } from './data-source.js';

/** What a snapshot needs of a connection; a `pg.Client` and a pool's client both have it. */
export type SnapshotClient = Pick<ClientBase, 'query'>;

/** Every value as the text that Postgres sends, in column order: nothing is converted, so nothing is rounded. */
export type TextRow = readonly (string | null)[];

export type SnapshotOptions = {
  /** How long one statement may run; the application's own limit is made for charges, not for whole ledgers. */
  readonly statementSecondsMax: number;
  /** How long a reader may leave the snapshot alone before the server ends it: it holds back clean-up. */
  readonly idleSecondsMax: number;
};

/** Rows a FETCH brings: enough to make the round trip cheap, few enough to be small in memory. */
export const BATCH_ROWS = 1_000;

const ANSWERED_AS_TEXT = {
  rowMode: 'array',
  types: { getTypeParser: () => (text: string) => text },
} as const;

/**
 * One consistent, read-only view of the whole database: everything read through it is as of one moment,
 * whatever commits meanwhile, and it takes no lock that a charge could wait for. Large results come through
 * server-side cursors, so memory stays flat. Close it, always.
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

  /** On a connection of the pool, which `close` gives back. */
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

  /** A result that is known to be small. */
  async rows(text: string, values: readonly (string | null)[] = []): Promise<TextRow[]> {
    // `pg` has a time limit for each query, and no type for it.
    const query = { text, values: [...values], ...ANSWERED_AS_TEXT, query_timeout: this.answerMsMax };
    const result = await this.inTurn(() => this.client.query<string[]>(query));
    return result.rows;
  }

  /**
   * A result of any size, batch by batch. The next batch is on its way while the caller works on this one;
   * no more than these two are in memory. Several cursors may be read alternately.
   */
  async *stream(text: string, values: readonly (string | null)[] = []): AsyncGenerator<readonly TextRow[]> {
    const cursor = `c${(this.cursors += 1)}`;
    await this.rows(`DECLARE ${cursor} NO SCROLL CURSOR FOR ${text}`, values);
    const fetch = (): Promise<TextRow[]> => {
      const batch = this.rows(`FETCH ${BATCH_ROWS} FROM ${cursor}`);
      // Whoever awaits it hears of a failure; whoever stops reading before must not crash the process.
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

  /** Ends the view. Never throws: a connection that broke has ended it already. */
  async close(): Promise<void> {
    await this.inTurn(() => this.client.query('ROLLBACK')).catch(() => undefined);
    await this.release();
  }

  /** One query at a time: the driver's own queue of queries is deprecated. */
  private inTurn<T>(query: () => Promise<T>): Promise<T> {
    const result = this.lastQuery.then(query);
    this.lastQuery = result.catch(() => undefined);
    return result;
  }
}
