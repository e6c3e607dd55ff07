import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { StatementCall } from '../database/pipeline.js';
import type { Tx } from '../database/transaction-runner.js';

/** It is JSON, because it waits in a database column. Money is a string, as everywhere on a wire. */
export type JobPayload = Readonly<Record<string, string | number | boolean | null>>;

export type JobContext = {
  /** 1 for the first run. Runs that a crash interrupted count. */
  readonly attempt: number;
  readonly attemptsMax: number;
  /** Aborted when the process is stopping and the time for running jobs is over. */
  readonly signal: AbortSignal;
};

/**
 * Work that outlives the request that queued it. A job may run twice (a crash after its effect, before
 * its completion was written), so `run` has to be idempotent. Throwing means "again later".
 */
export interface Job {
  /** `snake_case`, unique; it is stored, so renaming a job strands those that wait under the old name. */
  readonly name: string;
  /** The job also runs by the clock (UTC, five crontab fields), without a payload of its own. */
  readonly crontab?: string;
  run(payload: JobPayload, context: JobContext): Promise<void>;
}

const NAME_PATTERN = /^[a-z][a-z0-9_]{0,99}$/;

/** Every job that this version of the service knows. Modules register theirs while Nest builds them. */
@Injectable()
export class JobRegistry {
  private readonly jobs = new Map<string, Job>();

  register(job: Job): void {
    if (!NAME_PATTERN.test(job.name)) throw new Error(`'${job.name}' is no job name: use snake_case`);
    if (this.jobs.has(job.name)) throw new Error(`the job '${job.name}' is registered twice`);
    this.jobs.set(job.name, job);
  }

  has(name: string): boolean {
    return this.jobs.has(name);
  }

  all(): readonly Job[] {
    return [...this.jobs.values()];
  }
}

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
const ATTEMPTS_MAX = 20;

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

/** Throws when the payload lacks the text, because another program queued the job. */
export function payloadText(payload: JobPayload, member: string): string {
  const value = payload[member];
  if (typeof value !== 'string') throw new TypeError(`the job's payload has no text '${member}'`);
  return value;
}
