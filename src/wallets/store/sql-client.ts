import type { PoolClient } from 'pg';

/** A bound value; arrays feed `unnest`, one array a column. */
export type SqlValue = readonly (string | number | null)[] | string | number | null;

/**
 * One connection's prepared statements: each text is planned once a connection, which matters for
 * statements that run hundreds of times a second.
 */
export class SqlClient {
  constructor(private readonly client: PoolClient) {}

  async rows<Row>(name: string, text: string, values: readonly SqlValue[]): Promise<Row[]> {
    const result = await this.client.query({ name, text, values: [...values] });
    return result.rows as Row[];
  }

  /** Several statements without parameters. */
  async script(text: string): Promise<void> {
    await this.client.query(text);
  }
}

/**
 * Waits for statements that were sent one behind the other without waiting in between (the connections are
 * opened with `pipeline`): one round trip for all of them. The server runs them in the order sent. Throws the
 * first failure, which is the cause of those behind it.
 */
export async function together<T extends readonly Promise<unknown>[]>(
  ...statements: T
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  for (const outcome of await Promise.allSettled(statements)) {
    if (outcome.status === 'rejected') throw outcome.reason;
  }
  return Promise.all(statements);
}
