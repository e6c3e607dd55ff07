import type { Client, ClientConfig } from 'pg';
import type { DataSource } from 'typeorm';
import { BoundedClient } from '../database/pipeline.js';

/**
 * A job that a killed process was running stays locked; the library releases it after four hours, and a customer's payment
 * cannot wait that long. So every worker holds a session-level advisory lock while it is alive. The server releases the lock
 * with the connection, and a process that can take it knows that the worker died.
 */
const WORKER_LOCK_CLASS = 4_711_003;

/**
 * Run it in a session that holds none of the locks itself, because a session can always take its own locks again. A worker that
 * has locked a queue has locked a job of that queue in the same statement, so the jobs name every worker.
 */
const RELEASE_JOBS_OF_DEAD_WORKERS = `
  WITH holders AS MATERIALIZED (
    SELECT DISTINCT locked_by FROM graphile_worker.jobs WHERE locked_by IS NOT NULL
  ), dead AS MATERIALIZED (
    SELECT locked_by FROM holders WHERE pg_try_advisory_xact_lock($1, hashtext(locked_by))
  )
  SELECT graphile_worker.force_unlock_workers(array_agg(locked_by)), count(*)::int AS workers
    FROM dead HAVING count(*) > 0`;

export class WorkerLiveness {
  private constructor(private readonly client: Client) {}

  /** `onLost` is called when the connection breaks, and with it the proof that the workers are alive. */
  static async open(config: ClientConfig, onLost: (error: Error) => void): Promise<WorkerLiveness> {
    const client = new BoundedClient(config);
    const lost = (error?: Error): void => onLost(error ?? new Error('the liveness connection ended'));
    client.on('error', lost);
    await client.connect();
    client.on('end', () => lost());
    return new WorkerLiveness(client);
  }

  /** Throws when another living worker has the lock because two ids have one hash. New ids solve that. */
  async claim(workerIds: readonly string[]): Promise<void> {
    const { rows } = await this.client.query<{ claimed: boolean }>(
      'SELECT pg_try_advisory_lock($1, hashtext(id)) AS claimed FROM unnest($2::text[]) AS id',
      [WORKER_LOCK_CLASS, workerIds],
    );
    if (!rows.every((row) => row.claimed)) throw new Error('a worker id collides with a living worker');
  }

  async close(): Promise<void> {
    this.client.removeAllListeners('end');
    await this.client.end().catch(() => undefined);
  }
}

/** Lets the jobs of dead workers run again, at once. Returns how many dead workers were found. */
export async function releaseJobsOfDeadWorkers(dataSource: DataSource): Promise<number> {
  const rows = await dataSource.query<{ workers: number }[]>(RELEASE_JOBS_OF_DEAD_WORKERS, [
    WORKER_LOCK_CLASS,
  ]);
  return rows[0]?.workers ?? 0;
}
