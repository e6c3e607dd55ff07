import { setTimeout as sleep } from 'node:timers/promises';
import { EventEmitter } from 'node:events';
import {
  Inject,
  Injectable,
  Logger,
  Optional,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import {
  type Task,
  type TaskList,
  Logger as GraphileLogger,
  runTaskList,
  type WorkerEvents,
  type WorkerPool,
} from 'graphile-worker';
import { type ClientConfig, Pool, type PoolClient, type PoolConfig } from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { CLOCK, type Clock } from '../common/clock.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import { CLOCK_DIFFERENCE_MS_MAX, LEDGER_CLOCK } from '../database/ledger-clock.js';
import { BoundedClient } from '../database/pipeline.js';
import { type Job, type JobPayload, JobRegistry } from './job-queue.js';
import { JobClock } from './job-clock.js';
import { releaseJobsOfDeadWorkers, WorkerLiveness } from './worker-liveness.js';

/** Jobs mostly wait for Stripe or the database; more of them would only take connections from the requests. */
export const CONCURRENCY = 4;
/** One connection listens for new jobs; the workers use one during a query, never for as long as a job runs. */
const POOL_SIZE = CONCURRENCY + 1;
/** New jobs announce themselves. Only retries and jobs with a later start wait for the poll. */
export const POLL_INTERVAL_MS = 1_000;
/** A database that restarts is back within seconds; while it is away, faster retries do not help. */
const RESTART_DELAY_FIRST_MS = 100;
const RESTART_DELAY_MAX_MS = 5_000;
/** A run that lasted this long was healthy: the next fault is a new one. */
const HEALTHY_AFTER_MS = 10_000;
/** How soon a process notices that its clock has become wrong, or right again. */
const CLOCK_CHECK_MS = 1_000;
/** How long the jobs of a killed process wait for another one. */
const DEAD_WORKER_CHECK_MS = 10_000;
/** Running jobs finish within this, or run again in another process; orchestrators kill after 30 s. */
const STOP_TIMEOUT_MS = 20_000;
/** With these, the server notices a host that vanished after half a minute instead of two hours. */
const KEEPALIVE_OPTIONS = '-c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3';

/** Replaces `POLL_INTERVAL_MS`: a test without polls shows which jobs are announced. */
export const JOB_POLL_INTERVAL_MS = Symbol('JOB_POLL_INTERVAL_MS');

/** What the runner reports about itself. Metrics implement it, so that a process without metrics can run jobs. */
export interface JobObserver {
  completed(name: string, durationMs: number): void;
  /** `final` means that no attempt is left: an operator has to act. */
  failed(name: string, durationMs: number, final: boolean): void;
  /** The runner lost its connections (usually to the database) and starts again. */
  restarted(): void;
}

export const JOB_OBSERVER = Symbol('JOB_OBSERVER');

const ignore = (): void => undefined;

const silentJobObserver: JobObserver = { completed: ignore, failed: ignore, restarted: ignore };

/** Ends a run, because the clock of this process has become wrong. */
class WrongClockError extends Error {}

/**
 * Runs jobs in this process when the settings say so; any number of processes share the queue. It recovers
 * by itself when the database becomes unreachable and returns.
 */
@Injectable()
export class JobRunnerService implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger(JobRunnerService.name);
  private readonly observer: JobObserver;
  /** The current run, and earlier ones whose last jobs are still finishing. */
  private readonly runs = new Set<JobRun>();
  private readonly stopRequested = new AbortController();
  private readonly stopped = new Promise<null>((resolve) => {
    this.stopRequested.signal.addEventListener('abort', () => resolve(null));
  });
  private supervision: Promise<void> | null = null;
  private deadWorkerCheck: NodeJS.Timeout | null = null;
  private jobClock: JobClock | null = null;

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    private readonly dataSource: DataSource,
    private readonly registry: JobRegistry,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LEDGER_CLOCK) private readonly ledgerClock: Clock,
    @Optional() @Inject(JOB_OBSERVER) observer: JobObserver | null,
    @Optional() @Inject(JOB_POLL_INTERVAL_MS) private readonly pollIntervalMs = POLL_INTERVAL_MS,
  ) {
    this.observer = observer ?? silentJobObserver;
  }

  /** Called after every module has registered its jobs. */
  onApplicationBootstrap(): void {
    if (!this.settings.runJobs || this.registry.all().length === 0) return;
    this.supervision = this.supervise();
    this.jobClock = new JobClock(this.registry.all(), this.dataSource, this.ledgerClock, (error) => {
      this.logger.warn(
        { event: 'jobs.queueing_failed', err: error },
        'Recurring jobs could not be queued; they are tried again',
      );
    });
    this.jobClock.start();
    this.deadWorkerCheck = setInterval(() => void this.rescueJobs(), DEAD_WORKER_CHECK_MS).unref();
  }

  /** Called before the modules that the running jobs use are stopped. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopRequested.abort();
    if (this.deadWorkerCheck !== null) clearInterval(this.deadWorkerCheck);
    await this.jobClock?.stop();
    await this.supervision;
    const finished = Promise.all([...this.runs].map((run) => run.stop())).then(() => true);
    if (await Promise.race([finished, sleep(STOP_TIMEOUT_MS, false, { ref: false })])) return;
    this.logger.warn(
      { event: 'jobs.still_running' },
      'Jobs are still running; they will run again in another process',
    );
  }

  /** Starts one run after another until the process stops. It never rejects. */
  private async supervise(): Promise<void> {
    const { signal } = this.stopRequested;
    for (let failures = 0; !signal.aborted;) {
      await this.untilClockIsRight();
      if (signal.aborted) return;
      const startedAtMs = performance.now();
      const fault = await this.runUntilBroken();
      if (fault === null) return;
      if (fault instanceof WrongClockError) continue;
      failures = performance.now() - startedAtMs > HEALTHY_AFTER_MS ? 1 : failures + 1;
      const delayMs = Math.min(RESTART_DELAY_FIRST_MS * 2 ** (failures - 1), RESTART_DELAY_MAX_MS);
      this.logger.warn(
        { event: 'jobs.runner_restarted', delayMs, fault: fault.message },
        'The job runner lost its connections and starts again',
      );
      this.observer.restarted();
      await sleep(delayMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** In the meantime another process, whose clock is right, runs the jobs. Returns also when the process is stopping. */
  private async untilClockIsRight(): Promise<void> {
    const { signal } = this.stopRequested;
    if (this.isClockRight()) return;
    this.logger.warn(
      { event: 'jobs.paused', clockDifferenceMs: this.clockDifferenceMs() },
      'The clock of this process differs from that of the database. No jobs run here until it is right.',
    );
    while (!this.isClockRight() && !signal.aborted) {
      await sleep(CLOCK_CHECK_MS, undefined, { signal }).catch(() => undefined);
    }
    if (!signal.aborted)
      this.logger.log({ event: 'jobs.resumed' }, 'The clock is right. Jobs run here again.');
  }

  private isClockRight(): boolean {
    return Math.abs(this.clockDifferenceMs()) <= CLOCK_DIFFERENCE_MS_MAX;
  }

  private clockDifferenceMs(): number {
    return this.clock.nowMs() - this.ledgerClock.nowMs();
  }

  /** Returns the fault that ended the run, or null when the process is stopping. */
  private async runUntilBroken(): Promise<Error | null> {
    try {
      await this.rescueJobs();
      let onBroken: (fault: Error) => void = () => undefined;
      const broken = new Promise<Error>((resolve) => (onBroken = resolve));
      const run = await this.startRun(onBroken);
      const clockCheck = setInterval(() => {
        if (!this.isClockRight()) onBroken(new WrongClockError('the clock of this process is wrong'));
      }, CLOCK_CHECK_MS).unref();
      const fault = await Promise.race([broken, this.stopped]).finally(() => clearInterval(clockCheck));
      if (fault !== null) void this.retire(run);
      return fault;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  /** The jobs of a broken run may still finish, concurrently with the next run; then the jobs that it left locked are released. */
  private async retire(run: JobRun): Promise<void> {
    await run.stop();
    this.runs.delete(run);
    await this.rescueJobs();
  }

  private async startRun(onBroken: (fault: Error) => void): Promise<JobRun> {
    const run = await JobRun.start({
      connection: toClientConfig(this.dataSource.options),
      tasks: this.toTasks(this.registry.all()),
      pollIntervalMs: this.pollIntervalMs,
      log: (level, message) => this.logger[level]({ event: 'jobs.runner_reported' }, message),
      onBroken,
    });
    this.runs.add(run);
    return run;
  }

  private async rescueJobs(): Promise<void> {
    try {
      const workers = await releaseJobsOfDeadWorkers(this.dataSource);
      if (workers > 0) {
        this.logger.warn({ event: 'jobs.rescued', workers }, 'The jobs of workers that died run again');
      }
    } catch (error) {
      this.logger.debug(
        { event: 'jobs.rescue_failed', err: error },
        'Dead workers could not be searched for',
      );
    }
  }

  private toTasks(jobs: readonly Job[]): TaskList {
    return Object.fromEntries(jobs.map((job) => [job.name, this.toTask(job)]));
  }

  private toTask(job: Job): Task {
    return async (payload, helpers) => {
      const { attempts: attempt, max_attempts: attemptsMax } = helpers.job;
      const signal = helpers.abortSignal ?? new AbortController().signal;
      const startedAtMs = performance.now();
      try {
        await job.run(payload as JobPayload, { attempt, attemptsMax, signal });
        this.observer.completed(job.name, performance.now() - startedAtMs);
      } catch (error) {
        const final = attempt >= attemptsMax;
        this.observer.failed(job.name, performance.now() - startedAtMs, final);
        const fields = { job: job.name, jobId: helpers.job.id, attempt, attemptsMax, err: error };
        if (final)
          this.logger.error({ event: 'job.gave_up', ...fields }, 'A job failed and does not run again');
        else this.logger.warn({ event: 'job.failed', ...fields }, 'A job failed and runs again later');
        throw error;
      }
    };
  }
}

/** Connects to the same server and as the same role as the service's own pool. */
function toClientConfig(options: DataSourceOptions): ClientConfig {
  if (options.type !== 'postgres' || options.url === undefined) throw new Error('jobs need a PostgreSQL URL');
  const extra = (options.extra ?? {}) as Pick<
    ClientConfig,
    'options' | 'connectionTimeoutMillis' | 'query_timeout'
  >;
  return {
    connectionString: options.url,
    application_name: 'coffer-jobs',
    options: `${extra.options ?? ''} ${KEEPALIVE_OPTIONS}`.trim(),
    keepAlive: true,
    ...(extra.connectionTimeoutMillis === undefined
      ? {}
      : { connectionTimeoutMillis: extra.connectionTimeoutMillis }),
    ...(extra.query_timeout === undefined ? {} : { query_timeout: extra.query_timeout }),
  };
}

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
