import { Module, type DynamicModule, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import pg from 'pg';
import { CommonModule } from '../../src/platform/common/common.module.js';
import { ConfigModule } from '../../src/platform/config/config.module.js';
import { readSettings } from '../../src/platform/config/settings.js';
import { DatabaseModule } from '../../src/platform/database/database.module.js';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import {
  type Job,
  type JobContext,
  type JobPayload,
  JobQueue,
  JobRegistry,
} from '../../src/platform/jobs/job-queue.js';
import {
  JOB_OBSERVER,
  type JobObserver,
  JOB_POLL_INTERVAL_MS,
  POLL_INTERVAL_MS,
} from '../../src/platform/jobs/job-runner.service.js';
import { JobsModule } from '../../src/platform/jobs/jobs.module.js';
import { eventually } from './processes.js';
import { createTestDatabase, type TestDatabase } from './database/test-database.js';

/** Records its runs, and does what the test wants of it. */
export class ProbeJob implements Job {
  readonly name = 'probe';
  readonly runs: { readonly payload: JobPayload; readonly attempt: number; readonly atMs: number }[] = [];
  behaviour: (payload: JobPayload, context: JobContext) => Promise<void> = () => Promise.resolve();

  async run(payload: JobPayload, context: JobContext): Promise<void> {
    this.runs.push({ payload, attempt: context.attempt, atMs: performance.now() });
    await this.behaviour(payload, context);
  }

  ran(text: string): number {
    return this.runs.filter(({ payload }) => payload['text'] === text).length;
  }
}

export class CountingObserver implements JobObserver {
  completions = 0;
  failures: { readonly name: string; readonly final: boolean }[] = [];
  restarts = 0;
  completed(): void {
    this.completions += 1;
  }
  failed(name: string, _durationMs: number, final: boolean): void {
    this.failures.push({ name, final });
  }
  restarted(): void {
    this.restarts += 1;
  }
}

@Module({})
class ObserverModule {
  static with(observer: JobObserver, pollIntervalMs: number): DynamicModule {
    const providers = [
      { provide: JOB_OBSERVER, useValue: observer },
      { provide: JOB_POLL_INTERVAL_MS, useValue: pollIntervalMs },
    ];
    return {
      module: ObserverModule,
      global: true,
      providers,
      exports: [JOB_OBSERVER, JOB_POLL_INTERVAL_MS],
    };
  }
}

export type JobService = {
  readonly app: INestApplicationContext;
  readonly queue: JobQueue;
  readonly tx: TransactionRunner;
  readonly probe: ProbeJob;
  readonly observer: CountingObserver;
  close(): Promise<void>;
};

/** A database with any number of service processes on it that run jobs and nothing else. */
export class JobServices {
  private readonly services: JobService[] = [];

  private constructor(
    readonly database: TestDatabase,
    /** As the role that owns the tables. */
    readonly owner: pg.Client,
  ) {}

  static async open(): Promise<JobServices> {
    const database = await createTestDatabase();
    const owner = new pg.Client({ connectionString: database.url });
    await owner.connect();
    return new JobServices(database, owner);
  }

  async close(): Promise<void> {
    await this.owner.end();
    await this.database.drop();
  }

  async start(options: { runJobs: boolean; pollIntervalMs?: number }, ...others: Job[]): Promise<JobService> {
    const settings = {
      ...readSettings({ NODE_ENV: 'test', DATABASE_URL: this.database.serviceUrl }),
      runJobs: options.runJobs,
    };
    const probe = new ProbeJob();
    const observer = new CountingObserver();
    @Module({
      imports: [
        CommonModule,
        ConfigModule.with(settings),
        DatabaseModule,
        ObserverModule.with(observer, options.pollIntervalMs ?? POLL_INTERVAL_MS),
        JobsModule,
      ],
    })
    class ServiceModule {
      constructor(registry: JobRegistry) {
        for (const job of [probe, ...others]) registry.register(job);
      }
    }
    const app = await NestFactory.createApplicationContext(ServiceModule, {
      logger: false,
      abortOnError: false,
    });
    let closing: Promise<void> | null = null;
    const service: JobService = {
      app,
      queue: app.get(JobQueue),
      tx: app.get(TransactionRunner),
      probe,
      observer,
      close: () => (closing ??= app.close()),
    };
    this.services.push(service);
    return service;
  }

  /** Ends a test: no process and no job is left. */
  async clear(): Promise<void> {
    await Promise.all(this.services.splice(0).map((service) => service.close()));
    await this.owner.query('DELETE FROM graphile_worker._private_jobs');
  }

  async rows(sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    return (await this.owner.query<Record<string, unknown>>(sql, values)).rows;
  }

  async whenQueueIsEmpty(): Promise<void> {
    await eventually('the queue is empty', async () => {
      return (await this.rows('SELECT FROM graphile_worker._private_jobs')).length === 0;
    });
  }

  /** As a network fault or a restarting server does: all at once. */
  killConnections(application = '%'): Promise<unknown> {
    return this.rows(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE $1`,
      [application],
    );
  }
}
