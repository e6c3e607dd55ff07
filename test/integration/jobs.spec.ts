import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { JobRegistry } from '../../src/platform/jobs/job-queue.js';
import { JobStatisticsService } from '../../src/platform/jobs/job-statistics.service.js';
import { APPLICATION_ROLE } from '../../src/platform/database/service-role.js';
import { migrateJobs } from '../../src/platform/jobs/migrate-jobs.js';
import { JobServices, ProbeJob } from '../support/job-services.js';
import { eventually } from '../support/processes.js';

/** Longer than any test runs. */
const NEVER_MS = 3_600_000;

let services: JobServices;

beforeAll(async () => {
  // The library writes the stack of a worker that ends for good to the console.
  jest.spyOn(console, 'trace').mockImplementation(() => undefined);
  services = await JobServices.open();
});

afterEach(() => services.clear());

afterAll(() => services.close());

describe('the job queue', () => {
  it('migrates from several processes at once, again and again, without disturbing anybody', async () => {
    await Promise.all([1, 2, 3, 4].map(() => migrateJobs(services.database.url, APPLICATION_ROLE)));
    await migrateJobs(services.database.url, APPLICATION_ROLE);
    const [row] = await services.rows(
      `SELECT count(*)::int AS policies FROM pg_policies WHERE schemaname = 'graphile_worker'`,
    );
    expect(row?.['policies']).toBeGreaterThan(0);
  });

  it('runs as the service’s login, which cannot change the queue’s schema', async () => {
    const service = await services.start({ runJobs: false });
    const forbidden = service.tx.run((tx) => tx.query('DROP TABLE graphile_worker._private_jobs'));
    await expect(forbidden).rejects.toThrow(/must be owner/);
    const alsoForbidden = service.tx.run((tx) => tx.query('DELETE FROM graphile_worker.migrations'));
    await expect(alsoForbidden).rejects.toThrow(/permission denied/);
  });

  it('queues a job if, and only if, the tx that asked for it commits', async () => {
    const service = await services.start({ runJobs: true });
    const rolledBack = service.tx.run(async (tx) => {
      await service.queue.add('probe', { text: 'rolled back' }, { tx });
      throw new Error('changed my mind');
    });
    await expect(rolledBack).rejects.toThrow('changed my mind');
    await service.tx.run((tx) => service.queue.add('probe', { text: 'committed' }, { tx }));
    await eventually('the committed job runs', () => service.probe.ran('committed') === 1);
    expect(service.probe.ran('rolled back')).toBe(0);
    await services.whenQueueIsEmpty();
  });

  it('starts a new job when it is announced, not at the next poll', async () => {
    const service = await services.start({ runJobs: true, pollIntervalMs: NEVER_MS });
    await eventually('the runner listens', async () => {
      await service.queue.add('probe', { text: 'warm up' });
      return service.probe.ran('warm up') > 0;
    });
    for (let index = 0; index < 20; index += 1) {
      const text = `fast ${index}`;
      await service.queue.add('probe', { text });
      await eventually('the job runs', () => service.probe.ran(text) === 1);
    }
  });

  it('refuses a job that nothing handles, and two handlers of one name', async () => {
    const service = await services.start({ runJobs: false });
    await expect(service.queue.add('prode', {})).rejects.toThrow(/no job 'prode'/);
    expect(() => service.app.get(JobRegistry).register(new ProbeJob())).toThrow(/registered twice/);
  });

  it('keeps one waiting job a key', async () => {
    const service = await services.start({ runJobs: false });
    const runAt = new Date(Date.now() + 3_600_000);
    await service.queue.add('probe', { text: 'old' }, { jobKey: 'k', runAt });
    await service.queue.add('probe', { text: 'new' }, { jobKey: 'k', runAt });
    const found = await services.rows('SELECT payload FROM graphile_worker._private_jobs');
    expect(found).toEqual([{ payload: { text: 'new' } }]);
  });

  it('leaves jobs to other processes when its settings say so', async () => {
    const idle = await services.start({ runJobs: false });
    const busy = await services.start({ runJobs: true });
    for (let index = 0; index < 10; index += 1) await idle.queue.add('probe', { text: 'work' });
    await eventually('the other process does the work', () => busy.probe.ran('work') === 10);
    expect(idle.probe.runs).toEqual([]);
  });

  it('runs each job once while several processes compete for it', async () => {
    const both = [await services.start({ runJobs: true }), await services.start({ runJobs: true })] as const;
    const numbers = Array.from({ length: 100 }, (_, index) => index);
    await Promise.all(numbers.map((n) => both[n % 2 === 0 ? 0 : 1].queue.add('probe', { text: `n${n}` })));
    await services.whenQueueIsEmpty();
    const texts = both.flatMap((service) => service.probe.runs.map(({ payload }) => payload['text']));
    expect(texts).toHaveLength(100);
    expect(new Set(texts).size).toBe(100);
  });
});

describe('a failing job', () => {
  it('is tried again later, each time after a longer wait', async () => {
    const service = await services.start({ runJobs: true });
    let startedAt: unknown = null;
    let waitsSeen = 0;
    // An attempt that begins by itself, on a machine where that takes longer than the wait, leaves the wait to be seen.
    service.probe.behaviour = async (_payload, { attempt }) => {
      await eventually('the wait before it is seen', () => waitsSeen === attempt - 1);
      if (attempt === 3) return;
      [{ startedAt }] = (await services.rows('SELECT clock_timestamp()::text AS "startedAt"')) as [
        Record<string, unknown>,
      ];
      throw new Error('not yet');
    };
    await service.queue.add('probe', { text: 'flaky' });
    for (const waitSeconds of [2.7, 7.3]) {
      await eventually('it waits for its next attempt', async () => {
        const found = await services.rows(
          `SELECT last_error FROM graphile_worker._private_jobs
            WHERE run_at >= $1::timestamptz + make_interval(secs => $2)`,
          [startedAt, waitSeconds],
        );
        return found.some((job) => job['last_error'] === 'not yet');
      });
      startedAt = null;
      await services.owner.query('UPDATE graphile_worker._private_jobs SET run_at = now()');
      waitsSeen += 1;
    }
    await eventually('it succeeds', () => service.observer.completions === 1);
    expect(service.probe.runs.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
  });

  it('gives up after its attempts, and stays visible', async () => {
    const service = await services.start({ runJobs: true });
    service.probe.behaviour = () => Promise.reject(new Error('never'));
    await service.queue.add('probe', { text: 'hopeless' }, { attemptsMax: 1 });
    await eventually('it failed for good', async () => {
      const [counts] = await service.app.get(JobStatisticsService).read();
      return counts?.failed === 1;
    });
    expect(service.observer.failures).toEqual([{ name: 'probe', final: true }]);
    expect(await service.app.get(JobStatisticsService).read()).toEqual([
      { name: 'probe', waiting: 0, running: 0, failed: 1, lagSeconds: 0 },
    ]);
    // It is due, and a later one is taken before it.
    await services.owner.query('UPDATE graphile_worker._private_jobs SET run_at = now()');
    service.probe.behaviour = () => Promise.resolve();
    await service.queue.add('probe', { text: 'later' });
    await eventually('the later one runs', () => service.probe.ran('later') === 1);
    expect(service.probe.ran('hopeless')).toBe(1);
  });
});
