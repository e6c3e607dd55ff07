import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { parse } from 'csv-parse/sync';
import { ModelUsageService } from '../../src/gateway/catalog/ranking/model-usage.service.js';
import { newId } from '../../src/platform/common/ids.js';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { generate, MODEL, PRICE_MICROS } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestApp } from '../support/app/test-app.js';
import {
  FREE_MODEL,
  newUsageCustomers,
  rollUp,
  startUsageServices,
  USAGE_EVENTS,
  type UsageCustomers,
  type UsageEvent,
} from '../support/images/usage-events.js';
import { expectUsageToEqualLedger, usageOf, type UsageAnswerRow } from '../support/images/usage.js';

const DAY_MS = 86_400_000;

let service: TestApp;
let other: TestApp;
beforeAll(async () => {
  ({ service, other } = await startUsageServices());
});
afterAll(async () => {
  try {
    await expectBooksToBalance(service.dataSource);
  } finally {
    await Promise.all([service.close(), other.close()]);
  }
});
afterEach(() => {
  for (const { clock } of [service, other]) clock.reset();
});

const newCustomers = (): Promise<UsageCustomers> => newUsageCustomers({ service, other });
const counted = (): Promise<Record<string, string>[]> =>
  service.dataSource.query(
    `SELECT account_id, sum(calls) AS calls, sum(images) AS images, sum(charged_micros) AS charged FROM usage_days
      GROUP BY account_id ORDER BY account_id`,
  );

describe('usage', () => {
  it('counts calls, failures and images separately, by day, model, API key and tag, and debits apart from calls', async () => {
    const customers = await newCustomers();
    const { paying } = customers;
    for (const name of ['paid', 'paid, tagged', 'paid, for a user', 'moderated', 'free'] as const) {
      await USAGE_EVENTS[name].run(customers);
    }
    for (const name of ['debit of images', 'debit of an amount', 'captured hold'] as const) {
      await USAGE_EVENTS[name].run(customers);
    }
    const { data, totals } = await usageOf(paying, { group_by: 'model,tag' });
    const rows = (data as UsageAnswerRow[]).map(
      ({ source, model, tag, calls, failed_calls: failed, images, charged_micros: charged }) =>
        [source, model, tag, calls, failed, images, charged].join(' '),
    );
    expect(rows).toEqual([
      `images_api ${MODEL} user-7 1 0 2 80000`,
      `images_api ${MODEL} spring 1 0 3 120000`,
      `images_api ${MODEL}  2 1 1 40000`,
      `images_api ${FREE_MODEL}  1 0 1 0`,
      `debits ${MODEL}  2 0 4 160000`,
      `debits   1 0 0 12345`,
    ]);
    expect(totals).toEqual({
      calls: 8,
      failed_calls: 1,
      images: 11,
      byok_images: 0,
      free_images: 1,
      charged_micros: '412345',
      failures: [{ code: 'content_policy_violation', calls: 1 }],
    });
    expect((await usageOf(paying, { tag: 'spring' })).totals).toMatchObject({
      calls: 1,
      charged_micros: '120000',
    });
    expect((await usageOf(paying, { model: FREE_MODEL })).totals).toMatchObject({ calls: 1, free_images: 1 });
    const byKey = (await usageOf(paying, { group_by: 'api_key' })).data as UsageAnswerRow[];
    expect(byKey.map(({ source, api_key: key }) => [source, key?.slice(0, 4)])).toEqual([
      ['images_api', 'key_'],
      ['debits', undefined],
    ]);
    expect((await usageOf(paying, { api_key: byKey[0]?.api_key })).totals.charged_micros).toBe('240000');
  });

  it('gives the same rows page by page, each once, as in one piece and as a CSV', async () => {
    const customers = await newCustomers();
    for (const name of Object.keys(USAGE_EVENTS) as UsageEvent[]) {
      if (name !== 'the next day') await USAGE_EVENTS[name].run(customers);
    }
    (await generate(customers.paying, {}, { 'x-coffer-tag': '=1+1' })).expect(200);
    const query = { group_by: 'day,model,api_key,tag' };
    const whole = await usageOf(customers.paying, query);
    expect(whole).toMatchObject({ has_more: false });
    const pages: UsageAnswerRow[] = [];
    for (let more = true; more;) {
      const after = pages.at(-1)?.id;
      const page = await usageOf(customers.paying, {
        ...query,
        limit: '2',
        ...(after === undefined ? {} : { starting_after: after }),
      });
      expect(page.totals).toEqual(whole.totals);
      pages.push(...page.data);
      more = page.has_more;
    }
    expect(pages).toEqual(whole.data);
    expect(pages.length).toBeGreaterThan(5);
    const path = `/v1/usage?${new URLSearchParams(query).toString()}`;
    const csv = (await customers.paying.client.get(path, { accept: 'text/csv' })).expect(200);
    expect(csv.headers.get('content-type')).toContain('text/csv');
    expect((await customers.paying.client.get(`${path}&format=csv`)).expect(200).body).toBe(csv.body);
    const records: Record<string, string>[] = parse(csv.body, { columns: true });
    expect(records.map((record) => record['charged_micros'])).toEqual(pages.map((row) => row.charged_micros));
    expect(records.map((record) => record['tag'])).toContain("'=1+1");
  });

  it('shows how long the credit lasts at the pace of the last days', async () => {
    service.clock.stop();
    const customers = await newCustomers();
    expect((await usageOf(customers.paying)).runway).toEqual({
      per_day_micros: '0',
      ends_at: null,
      basis_days: 0,
    });
    await USAGE_EVENTS['paid'].run(customers);
    await rollUp(service);
    await USAGE_EVENTS['debit of an amount'].run(customers);
    const { runway } = await usageOf(customers.paying);
    expect(runway).toMatchObject({ per_day_micros: String(PRICE_MICROS + 12_345n), basis_days: 1 });
    const spent = PRICE_MICROS + 12_345n;
    const leftMs = Number(((9_130_000n - spent) * BigInt(DAY_MS)) / spent);
    expect(runway.ends_at).toBe(Math.floor((service.clock.nowMs() + leftMs) / 1_000));
  });

  it('is read by operators too, and by no one else: not without the scope, not of another account', async () => {
    const customers = await newCustomers();
    await USAGE_EVENTS['paid'].run(customers);
    const { accountId, client } = customers.paying;
    const own = await usageOf(customers.paying);
    const asOperator = (await service.operator.get(`/v1/accounts/${accountId}/usage`)).expect(200).body;
    expect(asOperator).toMatchObject({
      data: own.data,
      totals: own.totals,
      url: `/v1/accounts/${accountId}/usage`,
    });
    (await client.get(`/v1/accounts/${accountId}/usage`)).expect(403);
    (await service.operator.get(`/v1/accounts/${newId('account')}/usage`)).expect(404);
    (await service.operator.get('/v1/accounts/acct_platform/usage')).expect(404);
    const narrow = await service.createCustomer({ scopes: ['generate'] });
    (await narrow.client.get('/v1/usage')).expect(403);
    expect((await usageOf(customers.keyed)).data).toEqual([]);
  });

  it.each([
    ['an end before its beginning', { from: '2026-03-02', to: '2026-03-02' }, 'to'],
    ['more than a year', { from: '2025-01-01', to: '2026-03-01' }, 'from'],
    ['a time instead of a day', { from: '2026-03-02T00:00:00Z' }, 'from'],
    ['a group that there is not', { group_by: 'day,colour' }, 'group_by'],
    ['a group named twice', { group_by: 'day,day' }, 'group_by'],
    ['a cursor of nothing', { starting_after: 'usage_e30' }, 'starting_after'],
    ['a cursor that is no JSON', { starting_after: 'usage_%%%' }, 'starting_after'],
  ])('refuses %s, and names the parameter', async (_what, query, param) => {
    const { client } = await service.createCustomer();
    const answer = await client.get(
      `/v1/usage?${new URLSearchParams(query as Record<string, string>).toString()}`,
    );
    expect(answer.expect(400).body.error.param).toBe(param);
  });
});

/** Every second tx that has counted loses its connection before it commits, the first one too. Answers how to end that. */
function endEverySecondTx({ app }: TestApp): () => void {
  const models = app.get(ModelUsageService);
  const add = models.add.bind(models);
  let txs = 0;
  const spy = jest.spyOn(models, 'add').mockImplementation(async (tx, hours) => {
    await add(tx, hours);
    txs += 1;
    if (txs % 2 === 1) await tx.query('SELECT pg_terminate_backend(pg_backend_pid())');
  });
  return () => spy.mockRestore();
}

describe('adding up', () => {
  it('counts everything once while it is killed, repeated and run by two processes, and calls go on', async () => {
    const customers = await newCustomers();
    const { accountId } = customers.paying;
    const calls = (async () => {
      for (let call = 0; call < 20; call += 1)
        await USAGE_EVENTS[call % 3 === 0 ? 'failed' : 'paid'].run(customers);
    })();
    let over = false;
    let cutShort = 0;
    const restore = [service, other].map(endEverySecondTx);
    try {
      const runs = [service, other, other].map(async (of) => {
        while (!over) await rollUp(of).catch(() => (cutShort += 1));
      });
      await calls;
      over = true;
      await Promise.all(runs);
    } finally {
      for (const undo of restore) undo();
    }
    expect(cutShort).toBeGreaterThan(0);
    await rollUp(service);
    await expectUsageToEqualLedger(service, customers.paying);
    expect((await counted()).find((row) => row['account_id'] === accountId)).toMatchObject({
      calls: '20',
      images: '13',
      charged: String(13n * PRICE_MICROS),
    });
  });

  it('changes nothing when nothing happened', async () => {
    await rollUp(service);
    const before = await counted();
    await Promise.all([rollUp(service), rollUp(other)]);
    expect(await counted()).toEqual(before);
  });

  it.each([
    [
      'a charge is missing',
      `charged_micros = charged_micros - 1 WHERE charged_micros > 0 AND`,
      'charged_micros',
    ],
    ['a failed call was counted twice', `calls = calls + 1 WHERE error_code <> '' AND`, 'calls'],
    ['an image of a free model is missing', `images = 0 WHERE billing_mode = 'free' AND`, 'calls'],
  ])('is named by the doctor where a sum is not what was used: %s', async (_what, harm, column) => {
    const customers = await newCustomers();
    for (const name of ['paid', 'moderated', 'free'] as const) await USAGE_EVENTS[name].run(customers);
    await usageOf(customers.paying);
    await rollUp(service);
    const { accountId } = customers.paying;
    expect(await findDiscrepancies(service.dataSource)).toEqual([]);
    const kept = await service.dataSource.query<Record<string, string>[]>(
      'SELECT billing_mode, error_code, calls, images, charged_micros FROM usage_days WHERE account_id = $1',
      [accountId],
    );
    await service.dataSource.query(`UPDATE usage_days SET ${harm} account_id = $1`, [accountId]);
    const day = new Date().toISOString().slice(0, 10);
    expect(await findDiscrepancies(service.dataSource)).toEqual([
      expect.objectContaining({ table: 'usage_days', key: `account_id=${accountId} day=${day}`, column }),
    ]);
    for (const row of kept) {
      await service.dataSource.query(
        `UPDATE usage_days SET calls = $4, images = $5, charged_micros = $6
          WHERE account_id = $1 AND billing_mode = $2 AND error_code = $3`,
        [
          accountId,
          row['billing_mode'],
          row['error_code'],
          row['calls'],
          row['images'],
          row['charged_micros'],
        ],
      );
    }
  });
});
