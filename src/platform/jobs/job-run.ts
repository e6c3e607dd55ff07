import { EventEmitter } from 'node:events';
import {
  Logger as GraphileLogger,
  runTaskList,
  type TaskList,
  type WorkerEvents,
  type WorkerPool,
} from 'graphile-worker';
import { type ClientConfig, Pool, type PoolClient, type PoolConfig } from 'pg';
import { BoundedClient } from '../database/pipeline.js';
import { WorkerLiveness } from './worker-liveness.js';

/** Jobs mostly wait for Stripe or the database; more of them would only take connections from the requests. */
export const CONCURRENCY = 4;
/** One connection listens for new jobs; the workers use one during a query, never for as long as a job runs. */
const POOL_SIZE = CONCURRENCY + 1;
/** New jobs announce themselves. Only retries and jobs with a later start wait for the poll. */
export const POLL_INTERVAL_MS = 1_000;

export type JobRunOptions = {
  readonly connection: ClientConfig;
  readonly tasks: TaskList;
  readonly pollIntervalMs: number;
  readonly log: (level: 'debug' | 'warn', message: string) => void;
  /** Called once, when this run can no longer be relied upon. */
  readonly onBroken: (error: Error) => void;
};

/**
 * One period of running jobs. The library survives a lost listener by itself, but not a connection that is lost at the wrong
 * moment (a worker then ends permanently, and its look-up of job names stays broken). So a run reports the first such fault,
 * and the runner starts another one.
 */
export class JobRun {
  private stopping: Promise<void> | null = null;

  private constructor(
    private readonly workers: WorkerPool,
    private readonly liveness: WorkerLiveness,
    private readonly pool: JobPool,
  ) {}

  /** Throws the errors of connecting. */
  static async start(options: JobRunOptions): Promise<JobRun> {
    const onBroken = once(options.onBroken);
    const pool = new JobPool({ ...options.connection, max: POOL_SIZE }, (error) =>
      options.log('debug', `a job connection broke: ${error.message}`),
    );
    try {
      const liveness = await WorkerLiveness.open(options.connection, onBroken);
      return new JobRun(startWorkers(options, pool, liveness, onBroken), liveness, pool);
    } catch (error) {
      await pool.end();
      throw error;
    }
  }

  /** Takes no new job and resolves when the running ones are finished. It never rejects. */
  stop(): Promise<void> {
    this.stopping ??= this.finish();
    return this.stopping;
  }

  private async finish(): Promise<void> {
    // Both resolve only after the last job; the library may have begun to stop by itself.
    await this.workers.gracefulShutdown().catch(() => undefined);
    await this.workers.promise.catch(() => undefined);
    await this.liveness.close();
    await this.pool.end().catch(() => undefined);
  }
}

type Release = (release?: boolean | Error) => void;
type Callback = (error: Error | undefined, client: PoolClient | undefined, release: Release) => void;

/**
 * The connections of one run. Two faults of the library would end the process: a connection that breaks while it is in use
 * emits an error without a listener, and the one that listens for new jobs is released twice when the run stops at the
 * very moment it breaks.
 */
export class JobPool extends Pool {
  constructor(config: PoolConfig, onConnectionError: (error: Error) => void) {
    super({ ...config, Client: BoundedClient });
    this.on('error', onConnectionError);
    this.on('connect', (client) => client.on('error', onConnectionError));
  }

  override connect(): Promise<PoolClient>;
  override connect(callback: Callback): void;
  override connect(callback?: Callback): Promise<PoolClient> | void {
    if (callback === undefined) return super.connect();
    return super.connect((error, client, release?: Release) => callback(error, client, onlyOnce(release)));
  }
}

/** A pool that has ended passes an error, and no function to release a connection. */
function onlyOnce(release: Release | undefined): Release {
  let released = false;
  return (reason) => {
    if (released) return;
    released = true;
    release?.(reason);
  };
}

function startWorkers(
  { tasks, pollIntervalMs, log }: JobRunOptions,
  pool: JobPool,
  liveness: WorkerLiveness,
  onBroken: (error: Error) => void,
): WorkerPool {
  const events = new EventEmitter() as WorkerEvents;
  const claimed = claimWhenCreated(events, liveness);
  events.on('worker:fatalError', ({ error }) => onBroken(toError(error)));
  events.on('worker:getJob:error', ({ error }) => onBroken(toError(error)));
  const options = {
    events,
    concurrency: CONCURRENCY,
    pollInterval: pollIntervalMs,
    noHandleSignals: true,
    logger: toGraphileLogger(log),
    // The library asks this before every check for a job: no worker takes one before it holds its lock.
    forbiddenFlags: async () => {
      await claimed;
      return [];
    },
  };
  const workers = runTaskList(options, tasks, pool);
  claimed.catch((error: unknown) => onBroken(toError(error)));
  workers.promise.then(
    () => onBroken(new Error('the workers stopped by themselves')),
    (error: unknown) => onBroken(toError(error)),
  );
  return workers;
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

const PASSED_ON: ReadonlySet<string> = new Set(['error', 'warning']);

/** The runner logs failed jobs itself, under their name; the library's other messages are rarely useful. */
function toGraphileLogger(log: JobRunOptions['log']): GraphileLogger {
  return new GraphileLogger(() => (level, message, meta) => {
    const isOurs = meta !== undefined && meta['failure'] === true;
    const isPassedOn = PASSED_ON.has(level) && !isOurs;
    log(isPassedOn ? 'warn' : 'debug', message);
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
