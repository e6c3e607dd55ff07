import pg, { type QueryResult } from 'pg';
import { isReadTimeout } from './pipeline.js';

type Query = (...query: readonly unknown[]) => unknown;

/**
 * A connection that is closed when a query on it was not answered within its `query_timeout`. `pg` by itself abandons only the
 * query: the connection returns to the pool, and the next query then waits for one that may never end.
 */
export class BoundedClient extends pg.Client {
  override readonly query = ((...query: readonly unknown[]): unknown => {
    const answer = (pg.Client.prototype.query as Query).call(this, ...query);
    if (answer instanceof Promise) (answer as Promise<QueryResult>).catch(this.closeIfSilent);
    return answer;
  }) as pg.Client['query'];

  private readonly closeIfSilent = (error: unknown): void => {
    if (isReadTimeout(error)) void this.end();
  };
}
