import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import type { ClientConfig } from 'pg';
import { JobPool, JobRun } from '../../src/platform/jobs/job-runner.service.js';
import { WorkerLiveness } from '../../src/platform/jobs/worker-liveness.js';
import { CleanUp } from '../support/clean-up.js';
import { MutableProxy } from '../support/database/mutable-proxy.js';
import { JobServices } from '../support/job-services.js';

// The deadline is 35 seconds.
jest.setTimeout(120_000);

const cleanUp = new CleanUp();
let proxy: MutableProxy;
/** How the service itself connects for its jobs. */
let connection: ClientConfig;

beforeAll(async () => {
  const services = await JobServices.open();
  cleanUp.add(() => services.close());
  const start = jest.spyOn(JobRun, 'start');
  await services.start({ runJobs: true });
  await services.clear();
  proxy = await MutableProxy.start(services.database.serviceUrl, cleanUp);
  connection = { ...start.mock.calls[0]?.[0].connection, connectionString: proxy.url };
});
afterAll(() => cleanUp.run());

describe('a connection for jobs that is open and silent', () => {
  it('fails what waits for it after the deadline that all queries have, and is used for nothing more', async () => {
    const pool = new JobPool({ ...connection, max: 1 }, () => undefined);
    const lost = jest.fn();
    const liveness = await WorkerLiveness.open(connection, lost);
    const worker = await pool.connect();
    proxy.mute();
    await Promise.all([
      expect(worker.query('SELECT')).rejects.toThrow('Query read timeout'),
      expect(liveness.claim(['worker-silent'])).rejects.toThrow('Query read timeout'),
    ]);
    // As the library gives it back.
    worker.release();
    expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    // A worker without a sign of life gives way to one that has it.
    expect(lost).toHaveBeenCalled();
    await pool.end();
  });
});
