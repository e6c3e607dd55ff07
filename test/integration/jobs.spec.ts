import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Module, type DynamicModule, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import pg from 'pg';
import { CommonModule } from '../../src/common/common.module.js';
import { ConfigModule } from '../../src/config/config.module.js';
import { readSettings } from '../../src/config/settings.js';
import { DatabaseModule } from '../../src/database/database.module.js';
import { TransactionRunner } from '../../src/database/transaction-runner.js';
import type { Job, JobContext, JobPayload } from '../../src/jobs/job.js';
import { JOB_OBSERVER, type JobObserver } from '../../src/jobs/job-observer.js';
import { JobQueue } from '../../src/jobs/job-queue.js';
import { JobRegistry } from '../../src/jobs/job-registry.js';
import { JobStatistics } from '../../src/jobs/job-statistics.service.js';
import { JobsModule } from '../../src/jobs/jobs.module.js';
import { migrateJobs } from '../../src/jobs/migrate-jobs.js';
import { createTestDatabase, type TestDatabase } from '../support/test-database.js';
import { eventually } from '../support/processes.js';

/** Records its runs, and does what the test wants of it. */
class ProbeJob implements Job {
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

class CountingObserver implements JobObserver {
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
  static with(observer: JobObserver): DynamicModule {
    const provider = { provide: JOB_OBSERVER, useValue: observer };
    return { module: ObserverModule, global: true, providers: [provider], exports: [JOB_OBSERVER] };
  }
}

type Service = {
  readonly app: INestApplicationContext;
  readonly queue: JobQueue;
  readonly tx: TransactionRunner;
  readonly probe: ProbeJob;
  readonly observer: CountingObserver;
  close(): Promise<void>;
};

let database: TestDatabase;
let owner: pg.Client;
const services: Service[] = [];

async function startService(options: { runJobs: boolean }, ...others: Job[]): Promise<Service> {
  const settings = {
    ...readSettings({ NODE_ENV: 'test', DATABASE_URL: database.url }),
    runJobs: options.runJobs,
  };
  const probe = new ProbeJob();
  const observer = new CountingObserver();
  @Module({
    imports: [
      CommonModule,
      ConfigModule.with(settings),
      DatabaseModule,
      ObserverModule.with(observer),
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
  const service: Service = {
    app,
    queue: app.get(JobQueue),
    tx: app.get(TransactionRunner),
    probe,
    observer,
    close: () => (closing ??= app.close()),
  };
  services.push(service);
  return service;
}

async function rows(sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  return (await owner.query<Record<string, unknown>>(sql, values)).rows;
}

/** As a network fault or a restarting server does: all at once. */
function killConnections(application = '%'): Promise<unknown> {
  return rows(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name LIKE $1`,
    [application],
  );
}

beforeAll(async () => {
  // The library writes the stack of a worker that ends for good to the console.
  jest.spyOn(console, 'trace').mockImplementation(() => undefined);
  database = await createTestDatabase();
  await migrateJobs(database.url);
  owner = new pg.Client({ connectionString: database.url });
  await owner.connect();
});

afterEach(async () => {
  await Promise.all(services.splice(0).map((service) => service.close()));
  await owner.query('DELETE FROM graphile_worker._private_jobs');
});

afterAll(async () => {
  await owner.end();
  await database.drop();
});

describe('the job queue', () => {
  it('migrates from several processes at once, again and again, without disturbing anybody', async () => {
    await Promise.all([1, 2, 3, 4].map(() => migrateJobs(database.url)));
    await migrateJobs(database.url);
    const [row] = await rows(
      `SELECT count(*)::int AS policies FROM pg_policies WHERE schemaname = 'graphile_worker'`,
    );
    expect(row?.['policies']).toBeGreaterThan(0);
  });

  it('runs as the application role, which cannot change the queue’s schema', async () => {
    const service = await startService({ runJobs: false });
    const roles = await service.tx.run((tx) => tx.query<{ role: string }[]>('SELECT current_user AS role'));
    expect(roles).toEqual([{ role: 'coffer_app' }]);
    const forbidden = service.tx.run((tx) => tx.query('DROP TABLE graphile_worker._private_jobs'));
    await expect(forbidden).rejects.toThrow(/must be owner/);
    const alsoForbidden = service.tx.run((tx) => tx.query('DELETE FROM graphile_worker.migrations'));
    await expect(alsoForbidden).rejects.toThrow(/permission denied/);
  });

  it('queues a job if, and only if, the tx that asked for it commits', async () => {
    const service = await startService({ runJobs: true });
    const rolledBack = service.tx.run(async (tx) => {
      await service.queue.add('probe', { text: 'rolled back' }, { tx });
      throw new Error('changed my mind');
    });
    await expect(rolledBack).rejects.toThrow('changed my mind');
    await service.tx.run((tx) => service.queue.add('probe', { text: 'committed' }, { tx }));
    await eventually('the committed job runs', () => service.probe.ran('committed') === 1);
    expect(service.probe.ran('rolled back')).toBe(0);
    expect(await rows('SELECT id FROM graphile_worker._private_jobs')).toEqual([]);
  });

  it('starts a new job within milliseconds, not at the next poll', async () => {
    const service = await startService({ runJobs: true });
    await service.queue.add('probe', { text: 'warm up' });
    await eventually('the runner is up', () => service.probe.ran('warm up') === 1);
    const waitsMs: number[] = [];
    for (let index = 0; index < 20; index += 1) {
      const text = `fast ${index}`;
      const addedAtMs = performance.now();
      await service.queue.add('probe', { text });
      await eventually('the job runs', () => service.probe.ran(text) === 1);
      waitsMs.push((service.probe.runs.at(-1)?.atMs ?? Infinity) - addedAtMs);
    }
    waitsMs.sort((a, b) => a - b);
    expect(waitsMs[10]).toBeLessThan(200);
  });

  it('refuses a job that nothing handles, and two handlers of one name', async () => {
    const service = await startService({ runJobs: false });
    await expect(service.queue.add('prode', {})).rejects.toThrow(/no job 'prode'/);
    expect(() => service.app.get(JobRegistry).register(new ProbeJob())).toThrow(/registered twice/);
  });

  it('keeps one waiting job a key', async () => {
    const service = await startService({ runJobs: false });
    const runAt = new Date(Date.now() + 3_600_000);
    await service.queue.add('probe', { text: 'old' }, { jobKey: 'k', runAt });
    await service.queue.add('probe', { text: 'new' }, { jobKey: 'k', runAt });
    const found = await rows('SELECT payload FROM graphile_worker._private_jobs');
    expect(found).toEqual([{ payload: { text: 'new' } }]);
  });

  it('leaves jobs to other processes when it is told not to run them', async () => {
    const idle = await startService({ runJobs: false });
    const busy = await startService({ runJobs: true });
    for (let index = 0; index < 10; index += 1) await idle.queue.add('probe', { text: 'work' });
    await eventually('the other process does the work', () => busy.probe.ran('work') === 10);
    expect(idle.probe.runs).toEqual([]);
  });

  it('runs each job once while several processes compete for it', async () => {
    const both = [await startService({ runJobs: true }), await startService({ runJobs: true })] as const;
    const numbers = Array.from({ length: 100 }, (_, index) => index);
    await Promise.all(numbers.map((n) => both[n % 2 === 0 ? 0 : 1].queue.add('probe', { text: `n${n}` })));
    await eventually(
      'all are done',
      async () => (await rows('SELECT FROM graphile_worker._private_jobs')).length === 0,
    );
    const texts = both.flatMap((service) => service.probe.runs.map(({ payload }) => payload['text']));
    expect(texts).toHaveLength(100);
    expect(new Set(texts).size).toBe(100);
  });
});

describe('a failing job', () => {
  it('is tried again later, each time after a longer wait', async () => {
    const service = await startService({ runJobs: true });
    service.probe.behaviour = () => Promise.reject(new Error('not yet'));
    await service.queue.add('probe', { text: 'flaky' });
    await eventually('it failed', () => service.observer.failures.length === 1);
    const read = async (): Promise<Record<string, unknown> | undefined> =>
      (
        await rows(`SELECT attempts, last_error, run_at > now() AS waits FROM graphile_worker._private_jobs`)
      )[0];
    await eventually('it waits', async () => (await read())?.['waits'] === true);
    expect(await read()).toEqual({ attempts: 1, last_error: 'not yet', waits: true });

    service.probe.behaviour = () => Promise.resolve();
    await eventually('it succeeds', () => service.observer.completions === 1);
    expect(service.probe.runs.map(({ attempt }) => attempt)).toEqual([1, 2]);
    const [first, second] = service.probe.runs;
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThan(2_000);
  });

  it('gives up after its attempts, and stays visible', async () => {
    const service = await startService({ runJobs: true });
    service.probe.behaviour = () => Promise.reject(new Error('never'));
    await service.queue.add('probe', { text: 'hopeless' }, { attemptsMax: 1 });
    await eventually('it failed for good', async () => {
      const [counts] = await service.app.get(JobStatistics).read();
      return counts?.failed === 1;
    });
    expect(service.observer.failures).toEqual([{ name: 'probe', final: true }]);
    expect(await service.app.get(JobStatistics).read()).toEqual([
      { name: 'probe', waiting: 0, running: 0, failed: 1, lagSeconds: 0 },
    ]);
    await sleep(1_500);
    expect(service.probe.ran('hopeless')).toBe(1);
  });
});

describe('the job runner', () => {
  it('finishes the running job before the process stops, and takes no further one', async () => {
    const service = await startService({ runJobs: true });
    let finished = false;
    service.probe.behaviour = async () => {
      await sleep(500);
      finished = true;
    };
    await service.queue.add('probe', { text: 'slow' });
    await eventually('it runs', () => service.probe.ran('slow') === 1);
    const closing = service.close();
    await sleep(100);
    await service.queue.add('probe', { text: 'too late' });
    await closing;
    expect(finished).toBe(true);
    expect(service.probe.ran('too late')).toBe(0);
    expect(await rows('SELECT payload, locked_by FROM graphile_worker._private_jobs')).toEqual([
      { payload: { text: 'too late' }, locked_by: null },
    ]);
  });

  it('recovers by itself when every connection is killed while it is idle', async () => {
    const service = await startService({ runJobs: true });
    await service.queue.add('probe', { text: 'before' });
    await eventually('the runner is up', () => service.probe.ran('before') === 1);
    for (let round = 1; round <= 3; round += 1) {
      await killConnections();
      await eventually('the queue takes a job again', async () => {
        const added = service.queue.add('probe', { text: `after ${round}` }, { jobKey: `after ${round}` });
        return added.then(
          () => true,
          () => false,
        );
      });
      await eventually('it runs', () => service.probe.ran(`after ${round}`) >= 1);
    }
    expect(service.observer.restarts).toBeGreaterThan(0);
    // The announcement works again too: the next job does not wait for the poll.
    const waitsMs: number[] = [];
    await eventually('jobs are fast again', async () => {
      const text = `fast ${waitsMs.length}`;
      const addedAtMs = performance.now();
      await service.queue.add('probe', { text });
      await eventually('it runs', () => service.probe.ran(text) === 1);
      waitsMs.push((service.probe.runs.at(-1)?.atMs ?? Infinity) - addedAtMs);
      return waitsMs.length >= 5 && waitsMs.slice(-5).every((waitMs) => waitMs < 200);
    });
  });

  it('runs a job again when its completion could not be written', async () => {
    const service = await startService({ runJobs: true });
    await owner.query(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$;
      CREATE TRIGGER refuse BEFORE DELETE ON graphile_worker._private_jobs FOR EACH ROW EXECUTE FUNCTION refuse()`);
    await service.queue.add('probe', { text: 'unfinished' });
    await eventually('the worker ended', () => service.observer.restarts > 0);
    await owner.query('DROP FUNCTION refuse CASCADE');
    await eventually('it ran again', () => service.probe.ran('unfinished') >= 2);
    await eventually('the queue is empty', async () => {
      return (await rows('SELECT FROM graphile_worker._private_jobs')).length === 0;
    });
  });

  it('does not lose a running job whose process loses all its connections', async () => {
    const service = await startService({ runJobs: true });
    service.probe.behaviour = async () => {
      if (service.probe.ran('cut off') === 1) await killConnections('coffer-jobs');
    };
    await service.queue.add('probe', { text: 'cut off' });
    await eventually('it ran and is done', async () => {
      const left = await rows('SELECT FROM graphile_worker._private_jobs');
      return service.probe.ran('cut off') > 0 && left.length === 0;
    });
  });

  it('takes over at once what a dead process was running, and nothing of a living one', async () => {
    const living = await startService({ runJobs: true });
    let release: () => void = () => undefined;
    living.probe.behaviour = () => new Promise((resolve) => (release = resolve));
    await living.queue.add('probe', { text: 'alive' });
    await eventually('it runs', () => living.probe.ran('alive') === 1);
    // What kill -9 leaves behind: a locked job whose worker holds no sign of life any more.
    await living.queue.add('probe', { text: 'orphaned' }, { runAt: new Date(Date.now() + 3_600_000) });
    await owner.query(
      `UPDATE graphile_worker._private_jobs
          SET locked_at = now(), locked_by = 'worker-of-the-dead', attempts = 1, run_at = now()
        WHERE payload->>'text' = 'orphaned'`,
    );
    const heir = await startService({ runJobs: true });
    await eventually('the heir or the living runs it', () => {
      return heir.probe.ran('orphaned') + living.probe.ran('orphaned') === 1;
    });
    expect(heir.probe.ran('alive')).toBe(0);
    expect(living.probe.ran('alive')).toBe(1);
    living.probe.behaviour = () => Promise.resolve();
    release();
  });

  it('takes over within moments what a process was running when it was killed with -9', async () => {
    const args = [
      '--import',
      './test/support/typescript.mjs',
      'test/support/stuck-job-process.ts',
      database.url,
    ];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const gone = once(child, 'exit');
    const idle = await startService({ runJobs: false });
    await idle.queue.add('probe', { text: 'mid-flight' });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await gone;
    const heir = await startService({ runJobs: true });
    await eventually('the heir runs it', () => heir.probe.ran('mid-flight') === 1);
    expect(heir.probe.runs[0]?.attempt).toBe(2);
  });

  it('does by the clock what is due every minute, once for all processes', async () => {
    let ticks = 0;
    const tick: Job = { name: 'tick', crontab: '* * * * *', run: () => Promise.resolve(void (ticks += 1)) };
    const restoreClock = turnClockBackToJustBeforeTheMinute();
    try {
      await startService({ runJobs: true }, tick);
      await startService({ runJobs: true }, tick);
      await eventually('the clock struck', () => ticks > 0);
      await eventually('both have scheduled it', async () => {
        return (await rows('SELECT FROM graphile_worker._private_jobs')).length === 0;
      });
      await sleep(1_000);
      expect(ticks).toBe(1);
    } finally {
      restoreClock();
    }
  });
});

/** So that a test of the clock need not wait for up to a minute. */
function turnClockBackToJustBeforeTheMinute(): () => void {
  const RealDate = globalThis.Date;
  const shiftMs = (RealDate.now() % 60_000) + 2_000;
  globalThis.Date = class extends RealDate {
    constructor(...values: [] | [number | string | Date]) {
      super(values.length === 0 ? RealDate.now() - shiftMs : values[0]);
    }
    static override now(): number {
      return RealDate.now() - shiftMs;
    }
  } as DateConstructor;
  return () => (globalThis.Date = RealDate);
}
