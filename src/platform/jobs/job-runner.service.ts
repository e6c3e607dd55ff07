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
import type { Job, JobPayload } from './job.js';
import { JobClock } from './job-clock.js';
import { JOB_OBSERVER, silentJobObserver, type JobObserver } from './job-observer.js';
import { JobRegistry } from './job-registry.js';
import { JobRun, POLL_INTERVAL_MS } from './job-run.js';
import { releaseJobsOfDeadWorkers } from './worker-liveness.js';

/** A database that restarts is back within seconds; while it is away, asking more often helps nobody. */
const RESTART_DELAY_FIRST_MS = 100;
const RESTART_DELAY_MAX_MS = 5_000;
/** A run that lasted this long was healthy: the next fault is a new one. */
const HEALTHY_AFTER_MS = 10_000;
/** How soon a process notices that its clock has become wrong, or right again. */
const CLOCK_CHECK_MS = 1_000;
/** How long the jobs of a process that was killed wait for another one. */
const DEAD_WORKER_CHECK_MS = 10_000;
/** Running jobs finish within this, or run again elsewhere; orchestrators kill after 30 s. */
const STOP_TIMEOUT_MS = 20_000;
/** A host that vanished without a word is dead to the server after half a minute, not after two hours. */
const KEEPALIVE_OPTIONS = '-c tcp_keepalives_idle=15 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3';

/** Another interval than `POLL_INTERVAL_MS`: a test without polls shows what is announced. */
export const JOB_POLL_INTERVAL_MS = Symbol('JOB_POLL_INTERVAL_MS');

/** Breaks a run: the clock of this process has become wrong. */
class WrongClockError extends Error {}

/**
 * Runs jobs in this process when the settings say so; any number of processes share the queue. It recovers
 * by itself when the database goes away and comes back.
 */
@Injectable()
export class JobRunner implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly logger = new Logger(JobRunner.name);
  private readonly observer: JobObserver;
  /** This run, and earlier ones whose last jobs are still finishing. */
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

  /** After every module has registered its jobs. */
  onApplicationBootstrap(): void {
    if (!this.settings.runJobs || this.registry.all().length === 0) return;
    this.supervision = this.supervise();
    this.jobClock = new JobClock(this.registry.all(), this.dataSource, this.ledgerClock, (message) => {
      this.logger.warn(message);
    });
    this.jobClock.start();
    this.deadWorkerCheck = setInterval(() => void this.rescueJobs(), DEAD_WORKER_CHECK_MS).unref();
  }

  /** Before the modules that the running jobs use go down. */
  async beforeApplicationShutdown(): Promise<void> {
    this.stopRequested.abort();
    if (this.deadWorkerCheck !== null) clearInterval(this.deadWorkerCheck);
    await this.jobClock?.stop();
    await this.supervision;
    const finished = Promise.all([...this.runs].map((run) => run.stop())).then(() => true);
    if (await Promise.race([finished, sleep(STOP_TIMEOUT_MS, false, { ref: false })])) return;
    this.logger.warn('Jobs are still running; they will run again in another process.');
  }

  /** One run after another until the process stops. Never rejects. */
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
      this.logger.warn(`The job runner starts again in ${delayMs} ms: ${fault.message}`);
      this.observer.restarted();
      await sleep(delayMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /** Until then another process, whose clock is right, runs the jobs. Returns also when the process is stopping. */
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

  /** Answers what broke the run, or null when the process is stopping. */
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

  /** The jobs of a broken run may still finish, beside the next run; then what it left locked is let go. */
  private async retire(run: JobRun): Promise<void> {
    await run.stop();
    this.runs.delete(run);
    await this.rescueJobs();
  }

  private async startRun(onBroken: (fault: Error) => void): Promise<JobRun> {
    const run = await JobRun.start({
      connection: connectionOf(this.dataSource.options),
      tasks: this.toTasks(this.registry.all()),
      pollIntervalMs: this.pollIntervalMs,
      log: (level, message) => this.logger[level](message),
      onBroken,
    });
    this.runs.add(run);
    return run;
  }

  private async rescueJobs(): Promise<void> {
    try {
      const workers = await releaseJobsOfDeadWorkers(this.dataSource);
      if (workers > 0) this.logger.warn(`Took over the jobs of ${workers} workers that died.`);
    } catch (error) {
      this.logger.debug(`could not look for dead workers: ${String(error)}`);
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
        const stack = error instanceof Error ? error.stack : String(error);
        const what = `Job ${job.name} #${helpers.job.id} failed, attempt ${attempt} of ${attemptsMax}`;
        if (final) this.logger.error(`${what}. It will not run again.`, stack);
        else this.logger.warn(`${what}: ${stack}`);
        throw error;
      }
    };
  }
}

/** The same server and role as the service's own pool. */
function connectionOf(options: DataSourceOptions): ClientConfig {
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
