import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';

export type JobCounts = {
  readonly name: string;
  /** Jobs that wait for a runner, for their time, or for their next attempt. */
  readonly waiting: number;
  readonly running: number;
  /** Jobs that used up their attempts: an operator has to act. */
  readonly failed: number;
  /** For how many seconds the most overdue job has been due; 0 when none is. */
  readonly lagSeconds: number;
};

const COUNT_JOBS = `
  SELECT j.task_identifier AS name,
         count(*) FILTER (WHERE j.locked_at IS NULL AND j.attempts < j.max_attempts)::int AS waiting,
         count(*) FILTER (WHERE j.locked_at IS NOT NULL)::int AS running,
         count(*) FILTER (WHERE j.locked_at IS NULL AND j.attempts >= j.max_attempts)::int AS failed,
         greatest(0, coalesce(extract(epoch FROM now() - min(j.run_at)
           FILTER (WHERE j.locked_at IS NULL AND j.attempts < j.max_attempts)), 0))::float8 AS "lagSeconds"
    FROM graphile_worker.jobs j
   GROUP BY j.task_identifier ORDER BY j.task_identifier`;

/** The contents of the queue, for metrics and for people. */
@Injectable()
export class JobStatisticsService {
  constructor(private readonly dataSource: DataSource) {}

  /** Lists only names that have a job in the queue. Throws the database's errors. */
  read(): Promise<readonly JobCounts[]> {
    return this.dataSource.query<JobCounts[]>(COUNT_JOBS);
  }
}
