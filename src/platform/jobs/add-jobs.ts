import type { StatementCall } from '../database/pipeline.js';
import type { JobPayload } from './job.js';
import { ATTEMPTS_MAX } from './job-queue.js';

export type NewJob = {
  readonly name: string;
  readonly payload: JobPayload;
  /** Of the jobs that wait under one key, only the newest is kept. */
  readonly jobKey: string;
};

const ADD_JOBS = {
  name: 'add_jobs',
  text: `
  SELECT FROM unnest($1::text[], $2::text[], $3::text[]) AS new (name, payload, job_key),
              graphile_worker.add_job(identifier => new.name, payload => new.payload::json,
                                      max_attempts => ${ATTEMPTS_MAX}, job_key => new.job_key)`,
};

/** Queues jobs as part of a packet: they exist if, and only if, its tx commits. Without jobs there is no statement. */
export function addJobs(jobs: readonly NewJob[]): StatementCall[] {
  if (jobs.length === 0) return [];
  const columns = [
    jobs.map(({ name }) => name),
    jobs.map(({ payload }) => JSON.stringify(payload)),
    jobs.map(({ jobKey }) => jobKey),
  ];
  return [{ statement: ADD_JOBS, values: columns }];
}
