import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Tx } from '../database/transaction-runner.js';
import type { JobPayload } from './job.js';
import { JobRegistry } from './job-registry.js';

export type AddOptions = {
  /** Queues the job in this tx: it exists if, and only if, the tx commits. */
  readonly tx?: Tx;
  readonly runAt?: Date;
  /** Of the jobs that wait under one key, only the newest is kept; a running one is not affected. */
  readonly jobKey?: string;
  readonly attemptsMax?: number;
  /** Jobs of one queue run one at a time, over all processes: for work that must not occupy every worker. */
  readonly queue?: string;
};

/**
 * Waits between attempts grow from 3 seconds to 6 hours, so twenty of them cover a long weekend: by then an outage has ended,
 * or an operator has seen the fault.
 */
export const ATTEMPTS_MAX = 20;

const ADD_JOB = `
  SELECT id FROM graphile_worker.add_job(
    identifier => $1::text, payload => $2::json, run_at => $3::timestamptz,
    max_attempts => $4::int, job_key => $5::text, queue_name => $6::text)`;

/** Queues work for a runner, in this process or another one. */
@Injectable()
export class JobQueue {
  constructor(
    private readonly dataSource: DataSource,
    private readonly registry: JobRegistry,
  ) {}

  /** Throws for a name that no job has, and the database's errors. */
  async add(name: string, payload: JobPayload, options: AddOptions = {}): Promise<void> {
    if (!this.registry.has(name)) throw new Error(`there is no job '${name}'`);
    const { tx, runAt, jobKey, attemptsMax = ATTEMPTS_MAX, queue } = options;
    await (tx ?? this.dataSource).query(ADD_JOB, [
      name,
      JSON.stringify(payload),
      runAt?.toISOString() ?? null,
      attemptsMax,
      jobKey ?? null,
      queue ?? null,
    ]);
  }
}
