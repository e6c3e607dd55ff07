import { EventEmitter } from 'node:events';
import {
  Logger as GraphileLogger,
  parseCronItems,
  run,
  type ParsedCronItem,
  type Runner,
  type TaskList,
  type WorkerEvents,
} from 'graphile-worker';
import { Pool, type ClientConfig } from 'pg';
import type { Job } from './job.js';
import { WorkerLiveness } from './worker-liveness.js';

/** Jobs mostly wait for Stripe or the database; more would only take connections from the requests. */
const CONCURRENCY = 4;
/** One listens for new jobs; the workers hold one for a query at a time, never while a job runs. */
const POOL_SIZE = CONCURRENCY + 1;
/** New jobs announce themselves. Only retries and jobs with a time of their own wait for the poll. */
const POLL_INTERVAL_MS = 1_000;
/** The clock asks again a minute later, so a recurring job needs no patience. */
const RECURRING_ATTEMPTS_MAX = 3;

export type JobRunOptions = {
  readonly connection: ClientConfig;
  readonly jobs: readonly Job[];
  readonly tasks: TaskList;
  readonly log: (level: 'debug' | 'warn', message: string) => void;
  /** Called once, when this run can no longer be relied upon. */
  readonly onBroken: (error: Error) => void;
};

/**
 * One stretch of running jobs. The library survives a lost listener by itself, but not a lost connection at
 * the wrong moment (a worker then ends for good, and its look-up of job names stays broken). So a run
 * reports the first such fault, and whoever started it starts another one.
 */
export class JobRun {
  private stopping: Promise<void> | null = null;

  private constructor(
    private readonly runner: Runner,
    private readonly liveness: WorkerLiveness,
    private readonly pool: Pool,
  ) {}

  static async start(options: JobRunOptions): Promise<JobRun> {
    const onBroken = once(options.onBroken);
    const pool = new Pool({ ...options.connection, max: POOL_SIZE });
    pool.on('error', (error) => options.log('debug', `idle job connection: ${error.message}`));
    let liveness: WorkerLiveness | null = null;
    try {
      liveness = await WorkerLiveness.open(options.connection, onBroken);
      const runner = await startWorkers(options, pool, liveness, onBroken);
      return new JobRun(runner, liveness, pool);
    } catch (error) {
      await liveness?.close();
      await pool.end();
      throw error;
    }
  }

  /** Takes no new job and resolves when the running ones are finished. Never rejects. */
  stop(): Promise<void> {
    this.stopping ??= this.finish();
    return this.stopping;
  }

  private async finish(): Promise<void> {
    // The library refuses a second stop; it has stopped by itself then.
    await this.runner.stop().catch(() => undefined);
    await this.runner.promise.catch(() => undefined);
    await this.liveness.close();
    await this.pool.end().catch(() => undefined);
  }
}

async function startWorkers(
  options: JobRunOptions,
  pool: Pool,
  liveness: WorkerLiveness,
  onBroken: (error: Error) => void,
): Promise<Runner> {
  const events = new EventEmitter() as WorkerEvents;
  const claimed = claimWhenCreated(events, liveness);
  events.on('worker:fatalError', ({ error }) => onBroken(toError(error)));
  events.on('worker:getJob:error', ({ error }) => onBroken(toError(error)));
  const runner = await run({
    pgPool: pool,
    events,
    concurrency: CONCURRENCY,
    pollInterval: POLL_INTERVAL_MS,
    noHandleSignals: true,
    logger: toGraphileLogger(options.log),
    taskList: options.tasks,
    parsedCronItems: toCronItems(options.jobs),
    // Asked before every look for a job: no worker takes one before its sign of life is up.
    forbiddenFlags: async () => {
      await claimed;
      return [];
    },
  });
  runner.promise.catch((error: unknown) => onBroken(toError(error)));
  claimed.catch((error: unknown) => onBroken(toError(error)));
  return runner;
}

/** Resolves when every worker holds its lock. */
function claimWhenCreated(events: WorkerEvents, liveness: WorkerLiveness): Promise<void> {
  const workerIds: string[] = [];
  const created = new Promise<void>((resolve) => {
    events.on('worker:create', ({ worker }) => {
      workerIds.push(worker.workerId);
      if (workerIds.length === CONCURRENCY) resolve();
    });
  });
  return created.then(() => liveness.claim(workerIds));
}

function toCronItems(jobs: readonly Job[]): ParsedCronItem[] {
  return parseCronItems(
    jobs.flatMap(({ name, crontab }) =>
      crontab === undefined
        ? []
        : {
            task: name,
            match: crontab,
            identifier: name,
            options: {
              // What was missed while no runner lived is not made up for: the next tick does all that is due.
              backfillPeriod: 0,
              maxAttempts: RECURRING_ATTEMPTS_MAX,
              // One waits and one runs, however slow the job or absent the runner.
              jobKey: `recurring:${name}`,
              queueName: name,
            },
          },
    ),
  );
}

const NEWS: ReadonlySet<string> = new Set(['error', 'warning']);

/** Failed jobs are logged by their handler's wrapper, under their name; the rest is the library's own noise. */
function toGraphileLogger(log: JobRunOptions['log']): GraphileLogger {
  return new GraphileLogger(() => (level, message, meta) => {
    const isOurs = meta !== undefined && meta['failure'] === true;
    const isNews = NEWS.has(level) && !isOurs;
    log(isNews ? 'warn' : 'debug', message);
  });
}

function once<T>(callback: (value: T) => void): (value: T) => void {
  let called = false;
  return (value) => {
    if (called) return;
    called = true;
    callback(value);
  };
}

function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
