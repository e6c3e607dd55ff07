import { setTimeout as sleep } from 'node:timers/promises';
import {
  Inject,
  Injectable,
  Logger,
  Optional,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import type { Task, TaskList } from 'graphile-worker';
import type { ClientConfig } from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { CLOCK, type Clock } from '../common/clock.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import { CLOCK_DIFFERENCE_MS_MAX, LEDGER_CLOCK } from '../database/ledger-clock.js';
import { type Job, type JobPayload, JobRegistry } from './job-queue.js';
import { JobClock } from './job-clock.js';
import { JobRun, POLL_INTERVAL_MS } from './job-run.js';
import { releaseJobsOfDeadWorkers } from './worker-liveness.js';

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
