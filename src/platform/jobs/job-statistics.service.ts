import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';

export type JobCounts = {
  readonly name: string;
  /** Waits for a runner, for its time, or for its next attempt. */
  readonly waiting: number;
  readonly running: number;
  /** Used up its attempts: a person has to look. */
  readonly failed: number;
  /** How long the longest-waiting job that is due has been due, in seconds; 0 when none is. */
  readonly lagSeconds: number;
};

const COUNT_JOBS = `
  SELECT t.identifier AS name,
         count(*) FILTER (WHERE j.locked_at IS NULL AND j.attempts < j.max_attempts)::int AS waiting,
         count(*) FILTER (WHERE j.locked_at IS NOT NULL)::int AS running,
         count(*) FILTER (WHERE j.locked_at IS NULL AND j.attempts >= j.max_attempts)::int AS failed,
         greatest(0, coalesce(extract(epoch FROM now() - min(j.run_at)
           FILTER (WHERE j.locked_at IS NULL AND j.attempts < j.max_attempts)), 0))::float8 AS "lagSeconds"
    FROM graphile_worker._private_jobs j
    JOIN graphile_worker._private_tasks t ON t.id = j.task_id
   GROUP BY t.identifier ORDER BY t.identifier`;

/** What stands in the queue, for metrics and for people. */
@Injectable()
export class JobStatistics {
  constructor(private readonly dataSource: DataSource) {}

  /** Only names that have a job in the queue. Throws what the database throws. */
  read(): Promise<readonly JobCounts[]> {
    return this.dataSource.query<JobCounts[]>(COUNT_JOBS);
  }
}
