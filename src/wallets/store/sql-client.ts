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

  /** Several statements without parameters, in one round trip. */
  async script(text: string): Promise<void> {
    await this.client.query(text);
  }
}
