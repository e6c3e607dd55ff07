import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { migrate } from '../../src/platform/database/migrate.js';
import { newId } from '../../src/platform/common/ids.js';
import { UsageRollUpService } from '../../src/gateway/usage/usage-roll-up.service.js';
import { generate } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { usageOf } from '../support/images/usage.js';

const FREE = 'black-forest-labs/flux-2-klein-4b';
const HOUR_MS = 3_600_000;
const MIGRATION = new URL('../../migrations/1795300000029-usage-queue.sql', import.meta.url);
const MIGRATION_BEFORE = new URL('../../migrations/1795300000021-usage.sql', import.meta.url);

let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true, settings: { rateLimit: false } });
});
afterEach(async () => {
  service.clock.reset();
  await expectBooksToBalance(service.dataSource);
});
afterAll(() => service.close());

const rollUp = (): Promise<void> => service.app.get(UsageRollUpService).catchUp();
const callFree = async (customer: TestCustomer) => (await generate(customer, { model: FREE })).expect(200);
const fail = async (customer: TestCustomer) =>
  (await generate(customer, { prompt: '[sandbox:error]' })).expect(500);
const createCustomer = () => service.createCustomer({ grantMicros: 1_000_000n });

async function counted({ accountId }: TestCustomer): Promise<unknown> {
  const [row] = await service.dataSource.query<unknown[]>(
    `SELECT coalesce(sum(calls), 0)::integer AS calls, coalesce(sum(images), 0)::integer AS images
       FROM usage_days WHERE account_id = $1`,
    [accountId],
  );
  return row;
}

async function asOwner<T>(work: (owner: pg.Client) => Promise<T>): Promise<T> {
  const owner = new pg.Client({ connectionString: service.databaseUrl });
  await owner.connect();
  try {
    return await work(owner);
  } finally {
    await owner.end();
  }
}

/** Another call like the account's last one, but it ended a minute before and is committed only after `work`. */
function withSlowCommit({ accountId }: TestCustomer, work: () => Promise<void>): Promise<void> {
  return asOwner(async (process) => {
    await process.query('BEGIN');
    await process.query(
      `INSERT INTO generations
       SELECT (jsonb_populate_record(g, jsonb_build_object('id', $2::text, 'finished_at', g.finished_at - interval '1 minute'))).*
         FROM generations g WHERE g.account_id = $1 ORDER BY g.id DESC LIMIT 1`,
      [accountId, newId('generation')],
    );
    await work();
    await process.query('COMMIT');
  });
}

describe('a call that charged nothing', () => {
  it('is counted although its commit comes after calls that ended later are counted', async () => {
    const customer = await createCustomer();
    await fail(customer);
    await usageOf(customer);
    await withSlowCommit(customer, rollUp);
    expect(await counted(customer)).toEqual({ calls: 1, images: 0 });
    expect((await usageOf(customer)).totals).toMatchObject({ calls: 2, failed_calls: 2 });
    await rollUp();
    expect(await counted(customer)).toEqual({ calls: 2, images: 0 });
    expect((await usageOf(customer)).totals).toMatchObject({ calls: 2, failed_calls: 2 });
  });

  it('is counted once over the upgrade to the queue, whether it was counted before it or not', async () => {
    const customer = await createCustomer();
    await callFree(customer);
    await usageOf(customer);
    await rollUp();
    await fail(customer);
    await usageOf(customer);
    await asOwner(async (owner) => {
      // The schema of the version before: the first call is before its mark, the second one is not.
      const before = readFileSync(MIGRATION_BEFORE, 'utf8').replace(
        /CREATE TABLE usage_(days|progress)[^;]*;/g,
        '',
      );
      await owner.query(`BEGIN; DROP TABLE usage_queue; DROP FUNCTION queue_usage CASCADE; ${before}`);
      await owner.query(
        `UPDATE usage_clock SET counted_until = (SELECT max(finished_at) FROM generations WHERE account_id = $1)`,
        [customer.accountId],
      );
      await owner.query(`${readFileSync(MIGRATION, 'utf8')}; COMMIT`);
    });
    // Gives the service its rights on the new table.
    await migrate(service.databaseUrl, service.settings.databaseUrl ?? '');
    expect((await usageOf(customer)).totals).toMatchObject({ calls: 2, failed_calls: 1 });
    await rollUp();
    expect(await counted(customer)).toEqual({ calls: 2, images: 1 });
  });

  it.each([
    ['an hour late', -HOUR_MS],
    ['two days ahead', 48 * HOUR_MS],
  ])('is counted once, and at once, by a process whose clock is %s', async (_what, aheadMs) => {
    const customer = await createCustomer();
    await callFree(customer);
    await usageOf(customer);
    await rollUp();
    service.clock.aheadMs = aheadMs;
    await fail(customer);
    await fail(customer);
    await usageOf(customer);
    service.clock.reset();
    await rollUp();
    expect(await counted(customer)).toEqual({ calls: 3, images: 1 });
    await rollUp();
    expect(await counted(customer)).toEqual({ calls: 3, images: 1 });
  });
});
