import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { parse } from 'csv-parse/sync';
import pg from 'pg';
import { BATCH_ROWS } from '../../src/platform/database/snapshot.js';
import { toUsageQuery } from '../../src/gateway/usage/usage-query.js';
import { UsageReaderService } from '../../src/gateway/usage/usage-reader.service.js';
import { aCustomer } from '../fixtures/customers.js';
import { generate, MODEL } from '../fixtures/images.js';
import { sharedApp, type SharedApp } from '../fixtures/shared-app.js';
import type { TestCustomer } from '../support/app/test-app.js';
import { eventually } from '../support/processes.js';

const ROWS = 2 * BATCH_ROWS + 500;
const FILE = '/v1/usage?group_by=day,tag&format=csv';

let service: SharedApp;
let owner: pg.Client;
let customer: TestCustomer;
let other: TestCustomer;
beforeAll(async () => {
  service = await sharedApp();
  owner = new pg.Client({ connectionString: service.databaseUrl });
  await owner.connect();
  customer = await aCustomer().create();
  other = await aCustomer().withCredit('1.00').create();
  // As many end users as a customer of the customer's may have.
  await owner.query(
    `INSERT INTO usage_days (account_id, day, source, model, api_key_id, tag, billing_mode, error_code, calls, images, charged_micros)
     SELECT $1, (clock_timestamp() AT TIME ZONE 'UTC')::date, 'images_api', $2, 'key_of_a_test', 'user-' || number, 'byok', '', 1, 1, 0
       FROM generate_series(1, $3::int) AS number`,
    [customer.accountId, MODEL, ROWS],
  );
});
afterAll(async () => {
  await owner.query('DELETE FROM usage_days WHERE account_id = $1', [customer.accountId]);
  await owner.end();
});

describe('usage as a file of many rows', () => {
  it('is whole, and read a batch at a time: in one piece it would stop the process for everybody', async () => {
    const file = (await customer.client.get(FILE)).expect(200);
    const records: Record<string, string>[] = parse(file.body, { columns: true });
    const tags = records.map((record) => record['tag']);
    expect(tags).toHaveLength(ROWS);
    expect(new Set(tags).size).toBe(ROWS);
    const reader: UsageReaderService = service.app.get(UsageReaderService);
    const query = toUsageQuery({ group_by: 'tag' }, service.clock.nowMs());
    const batches: number[] = [];
    for await (const rows of reader.readAll(customer.accountId, query)) batches.push(rows.length);
    expect(batches).toEqual([BATCH_ROWS, BATCH_ROWS, 500]);
  });

  it('is written one at a time, however many are asked for, and images of others are made at the same time', async () => {
    const files = await whileUsageIsLocked(async (waiting) => {
      const asked = [customer, customer, customer, other].map(({ client }) => client.get(FILE));
      await eventually('one of them is read', async () => (await waiting()) === 1);
      for (let round = 0; round < 3; round += 1) (await generate(other)).expect(200);
      expect(await waiting()).toBe(1);
      return { asked };
    });
    const [first, second, third] = await Promise.all(files.asked);
    for (const file of [first, second, third]) expect(file?.expect(200).body).toBe(first?.body);
  });

  it('is not written at all for a client that has left before its turn', async () => {
    const gone = new AbortController();
    const read = jest.spyOn(service.app.get<UsageReaderService>(UsageReaderService), 'readAll');
    const files = await whileUsageIsLocked(async (waiting) => {
      const first = customer.client.get(FILE);
      await eventually('the first is read', async () => (await waiting()) === 1);
      const headers = { authorization: `Bearer ${customer.apiKey}` };
      const left = fetch(`${service.url}${FILE}`, { headers, signal: gone.signal });
      (await generate(other)).expect(200);
      gone.abort();
      await expect(left).rejects.toThrow();
      return { first };
    });
    (await files.first).expect(200);
    (await customer.client.get(FILE)).expect(200);
    expect(read).toHaveBeenCalledTimes(2);
  });
});

/** Requests that read usage wait while `work` runs; `waiting` counts them. */
async function whileUsageIsLocked<T>(work: (waiting: () => Promise<number>) => Promise<T>): Promise<T> {
  const locker = new pg.Client({ connectionString: service.databaseUrl });
  await locker.connect();
  try {
    await locker.query('BEGIN; LOCK TABLE usage_days IN ACCESS EXCLUSIVE MODE');
    return await work(async () => {
      const sql = `SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE datname = current_database() AND relation = 'usage_days'::regclass AND NOT granted AND mode = 'AccessShareLock'`;
      return (await owner.query(sql)).rows.length;
    });
  } finally {
    await locker.query('ROLLBACK');
    await locker.end();
  }
}
