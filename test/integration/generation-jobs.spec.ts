import { truncate, unlink } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { RunningGenerationsService } from '../../src/gateway/images/calls/running-generations.service.js';
import { MediaRestorationJob } from '../../src/gateway/images/calls/recovery/media-restoration.job.js';
import { JobQueue } from '../../src/platform/jobs/job-queue.js';
import { balancesOf, expectReceiptsToAgree, generate, PRICE_MICROS, setLimits } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true, settings: { runJobs: true } });
});
afterAll(() => service.close());

describe('the recovery job', () => {
  it('resolves what a crash left by itself, and queues its next check', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    setLimits(service, { callDeadlineMs: 300 });
    (await generate(customer, { prompt: 'x [sandbox:slow=900]' })).expect(503);
    setLimits(service, { callDeadlineMs: 110_000 });
    expect((await balancesOf(customer)).held).toBe(PRICE_MICROS);
    await service.app.get(JobQueue).add('generation_recovery', {});
    await eventually('nothing is held', async () => (await balancesOf(customer)).held === 0n);
    expect((await balancesOf(customer)).posted).toBe(1_000_000n - PRICE_MICROS);
    await eventually('the next look is queued', async () => {
      const waiting = await service.dataSource.query<unknown[]>(
        `SELECT 1 FROM graphile_worker.jobs WHERE task_identifier = 'generation_recovery' AND run_at > now()`,
      );
      return waiting.length === 1;
    });
    await expectReceiptsToAgree(service, customer.accountId);
    await expectBooksToBalance(service.dataSource);
  });
});

describe('the restoration job', () => {
  it('fetches again, whole and for nothing, the images that a power failure took or cut short', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    const answer = (await generate(customer, { n: 3, prompt: 'x [sandbox:error, every=3]' })).expect(200);
    const urls = answer.body.data.map(({ url }: { url: string }) => url) as string[];
    const before = await Promise.all(urls.map(async (url) => (await fetch(url)).text()));
    // The job goes by the receipts, which are written after the answer.
    await service.app.get(RunningGenerationsService).recorded(customer.accountId);
    const [gone = '', cut = ''] = await Promise.all(urls.map(fileOf));
    await unlink(gone);
    await truncate(cut, 0);
    expect((await fetch(urls[0] ?? '')).status).toBe(404);
    await service.app.get(MediaRestorationJob).run();
    expect(await Promise.all(urls.map(async (url) => (await fetch(url)).text()))).toEqual(before);
    await expectReceiptsToAgree(service, customer.accountId);
    await expectBooksToBalance(service.dataSource);
  });

  async function fileOf(url: string): Promise<string> {
    const [, , , id = '', file = ''] = new URL(url).pathname.split('/');
    const [row] = await service.dataSource.query<{ day: string; minute: string }[]>(
      `SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
              to_char(created_at AT TIME ZONE 'UTC', 'HH24MI') AS minute FROM generations WHERE id = $1`,
      [id],
    );
    return path.join(service.settings.dataDir, 'media', row?.day ?? '', row?.minute ?? '', `${id}-${file}`);
  }
});
