import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { DataSource } from 'typeorm';
import type { Job } from '../../src/platform/jobs/job-queue.js';
import { CONCURRENCY, JobRun } from '../../src/platform/jobs/job-runner.service.js';
import type { Clock } from '../../src/platform/common/clock.js';
import { LedgerClock } from '../../src/platform/database/ledger-clock.js';
import { JobClock, RETRY_MS } from '../../src/platform/jobs/job-clock.js';
import { JobServices } from '../support/job-services.js';
import { eventually, momentLater } from '../support/processes.js';

let services: JobServices;

beforeAll(async () => {
  // The library writes the stack of a worker that ends for good to the console.
  jest.spyOn(console, 'trace').mockImplementation(() => undefined);
  services = await JobServices.open();
});

afterEach(() => services.clear());

afterAll(() => services.close());

describe('the job runner', () => {
  it('finishes the running jobs before the process stops, and takes no further one', async () => {
    const service = await services.start({ runJobs: true });
    const stop = jest.spyOn(JobRun.prototype, 'stop');
    let finished = 0;
    let finish: () => void = () => undefined;
    const finishing = new Promise<void>((resolve) => (finish = resolve));
    service.probe.behaviour = async () => {
      await finishing;
      finished += 1;
    };
    // One for each worker: a worker that is looking for a job as the process stops may still get one.
    for (let count = 0; count < CONCURRENCY; count += 1) await service.queue.add('probe', { text: 'slow' });
    await eventually('they run', () => service.probe.ran('slow') === CONCURRENCY);
    let closed = false;
    const closing = service.close().then(() => (closed = true));
    await eventually('it stops', () => stop.mock.calls.length > 0);
    stop.mockRestore();
    await service.queue.add('probe', { text: 'too late' });
    expect(closed).toBe(false);
    finish();
    await closing;
    expect(finished).toBe(CONCURRENCY);
    expect(service.probe.ran('too late')).toBe(0);
    expect(await services.rows('SELECT payload, locked_by FROM graphile_worker._private_jobs')).toEqual([
      { payload: { text: 'too late' }, locked_by: null },
    ]);
  });

  it('recovers by itself when every connection is killed while it is idle', async () => {
    const service = await services.start({ runJobs: true });
    await service.queue.add('probe', { text: 'before' });
    await eventually('the runner is up', () => service.probe.ran('before') === 1);
    for (let round = 1; round <= 3; round += 1) {
      await services.killConnections();
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
    const service = await services.start({ runJobs: true });
    await services.owner.query(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$;
      CREATE TRIGGER refuse BEFORE DELETE ON graphile_worker._private_jobs FOR EACH ROW EXECUTE FUNCTION refuse()`);
    await service.queue.add('probe', { text: 'unfinished' });
    await eventually('the worker ended', () => service.observer.restarts > 0);
    await services.owner.query('DROP FUNCTION refuse CASCADE');
    await eventually('it ran again', () => service.probe.ran('unfinished') >= 2);
    await services.whenQueueIsEmpty();
  });

  it('survives that its connections break at the very moment when it starts or stops', async () => {
    for (let round = 0; round < 15; round += 1) {
      const service = await services.start({ runJobs: true });
      await momentLater(round * 5);
      const killed = services.killConnections('coffer-jobs');
      await Promise.all([killed, service.close()]);
    }
    const last = await services.start({ runJobs: true });
    await last.queue.add('probe', { text: 'still alive' });
    await eventually('it runs', () => last.probe.ran('still alive') === 1);
  });

  it('does not lose a running job whose process loses all its connections', async () => {
    const service = await services.start({ runJobs: true });
    service.probe.behaviour = async () => {
      if (service.probe.ran('cut off') === 1) await services.killConnections('coffer-jobs');
    };
    await service.queue.add('probe', { text: 'cut off' });
    await eventually('it ran and is done', async () => {
      const left = await services.rows('SELECT FROM graphile_worker._private_jobs');
      return service.probe.ran('cut off') > 0 && left.length === 0;
    });
  });

  it('takes over at once what a dead process was running, and nothing of a living one', async () => {
    const living = await services.start({ runJobs: true });
    let release: () => void = () => undefined;
    living.probe.behaviour = () => new Promise((resolve) => (release = resolve));
    await living.queue.add('probe', { text: 'alive' });
    await eventually('it runs', () => living.probe.ran('alive') === 1);
    // What kill -9 leaves: a locked job whose worker holds no sign of life any more.
    await living.queue.add('probe', { text: 'orphaned' }, { runAt: new Date(Date.now() + 3_600_000) });
    await services.owner.query(
      `UPDATE graphile_worker._private_jobs
          SET locked_at = now(), locked_by = 'worker-of-the-dead', attempts = 1, run_at = now()
        WHERE payload->>'text' = 'orphaned'`,
    );
    const heir = await services.start({ runJobs: true });
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
      'test/support/process/stuck-job-process.ts',
      services.database.url,
    ];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const gone = once(child, 'exit');
    const idle = await services.start({ runJobs: false });
    await idle.queue.add('probe', { text: 'mid-flight' });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await gone;
    const heir = await services.start({ runJobs: true });
    await eventually('the heir runs it', () => heir.probe.ran('mid-flight') === 1);
    expect(heir.probe.runs[0]?.attempt).toBe(2);
  });

  it('does by the clock what is due every minute, once for all processes', async () => {
    let ticks = 0;
    const tick: Job = { name: 'tick', crontab: '* * * * *', run: () => Promise.resolve(void (ticks += 1)) };
    const minute = stopClockBeforeTheMinute();
    try {
      const processes = [
        await services.start({ runJobs: true }, tick),
        await services.start({ runJobs: true }, tick),
      ];
      const queries = processes.map(({ app }) => jest.spyOn(app.get(DataSource), 'query'));
      minute.begin();
      await eventually('the clock of each has struck', () =>
        queries.every(({ mock }) => mock.calls.some(([sql]) => sql.includes('_private_known_crontabs'))),
      );
      await Promise.all(queries.flatMap(({ mock }) => mock.results.map(({ value }) => value)));
      await services.whenQueueIsEmpty();
      expect(ticks).toBe(1);
    } finally {
      minute.restore();
    }
  });
});

describe('the clock of recurring jobs', () => {
  it('queues what is due although the database was away at the full minute', async () => {
    const service = await services.start({ runJobs: true });
    const dataSource = service.app.get(DataSource);
    const query = jest.spyOn(dataSource, 'query').mockRejectedValueOnce(new Error('the database is away'));
    const failures: unknown[] = [];
    const time = passTimers([BEFORE_THE_MINUTE_MS, RETRY_MS]);
    const clock = new JobClock(
      [{ name: 'probe', crontab: '* * * * *', run: () => Promise.resolve() }],
      dataSource,
      time,
      (error) => failures.push(error),
    );
    clock.start();
    await eventually('the job runs after all', () => service.probe.runs.length === 1);
    await clock.stop();
    time.restore();
    query.mockRestore();
    expect(failures.map(String)).toEqual([expect.stringContaining('the database is away')]);
  });

  it('queues what is due although a process whose clock was wrong noted a later time', async () => {
    const service = await services.start({ runJobs: true });
    const dataSource = service.app.get(DataSource);
    await dataSource.query(
      `INSERT INTO graphile_worker._private_known_crontabs (identifier, known_since, last_execution)
       VALUES ('probe', now(), now() + interval '25 hours')
       ON CONFLICT (identifier) DO UPDATE SET last_execution = excluded.last_execution`,
    );
    const time = passTimers([BEFORE_THE_MINUTE_MS]);
    const jobs = [{ name: 'probe', crontab: '* * * * *', run: () => Promise.resolve() }];
    const clock = new JobClock(jobs, dataSource, time, () => undefined);
    clock.start();
    await eventually('the job runs', () => service.probe.runs.length === 1);
    await clock.stop();
    time.restore();
  });
});

const BEFORE_THE_MINUTE_MS = 43_210;

const lastMinuteMs = (): number => Math.floor(Date.now() / 60_000) * 60_000;

/** A clock that hangs but for timers of these lengths: the time that they wait for passes at once. */
function passTimers(lengthsMs: readonly number[]): Clock & { restore(): void } {
  let nowMs = lastMinuteMs() - BEFORE_THE_MINUTE_MS;
  const { setTimeout: start } = globalThis;
  const timers = jest.spyOn(globalThis, 'setTimeout').mockImplementation((run: () => void, ms = 0) => {
    if (!lengthsMs.includes(ms)) return start(run, ms);
    nowMs += ms;
    return start(run, 0);
  });
  return { nowMs: () => nowMs, restore: () => timers.mockRestore() };
}

/**
 * So that a test of the clock need not wait for up to a minute: no time passes until the minute begins, and then
 * everything begins that waits for it.
 */
function stopClockBeforeTheMinute(): { begin(): void; restore(): void } {
  const RealDate = globalThis.Date;
  const minuteMs = lastMinuteMs();
  let nowMs = minuteMs - BEFORE_THE_MINUTE_MS;
  globalThis.Date = class extends RealDate {
    constructor(...values: [] | [number | string | Date]) {
      super(values.length === 0 ? nowMs : values[0]);
    }
    static override now(): number {
      return nowMs;
    }
  } as DateConstructor;
  const waiting: (() => void)[] = [];
  const { setTimeout: start } = globalThis;
  const timers = jest.spyOn(globalThis, 'setTimeout').mockImplementation((run: () => void, ms = 0) => {
    if (ms === BEFORE_THE_MINUTE_MS) waiting.push(run);
    return start(run, ms);
  });
  // The database's as well, as far as the process carries it.
  const ledgerClock = jest.spyOn(LedgerClock.prototype, 'nowMs').mockImplementation(() => nowMs);
  return {
    begin: () => {
      nowMs = minuteMs;
      for (const run of waiting.splice(0)) run();
    },
    restore: () => {
      timers.mockRestore();
      ledgerClock.mockRestore();
      globalThis.Date = RealDate;
    },
  };
}
