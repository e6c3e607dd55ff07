import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import type { Clock } from '../../src/platform/common/clock.js';
import { LEDGER_CLOCK } from '../../src/platform/database/ledger-clock.js';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import { UpstreamAccrualsService } from '../../src/finance/provider-costs/upstream-accruals.service.js';
import { WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { generate } from '../fixtures/images.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { attach, makeProviderKey } from '../support/images/provider-keys.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

const DAY_MS = 86_400_000;
const PROVIDER = 'black_forest_labs';
/** What the simulator charges for an image of this size. */
const LARGE = '1024x1024';
const COST_MICROS = 15_000n;

let service: TestApp;
/** A second process on the same database, where a test needs one. */
let other: TestApp | null = null;
/** Noon, some days ago: tasks are booked when their day is over. */
let nowMs: number;
const TODAY_MS = Math.floor(Date.now() / DAY_MS) * DAY_MS;
const noon = (daysAgo: number): number => TODAY_MS - daysAgo * DAY_MS + DAY_MS / 2;
const dayOf = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

beforeEach(async () => {
  service = await startTestApp({ blackForestLabs: true });
  nowMs = noon(5);
  jest.spyOn(service.app.get<Clock>(LEDGER_CLOCK), 'nowMs').mockImplementation(() => nowMs);
});
afterEach(async () => {
  await expectBooksToBalance(service.dataSource);
  await other?.close();
  await service.close();
  other = null;
});

const book = (of: TestApp = service): Promise<void> =>
  of.app.get(UpstreamAccrualsService).bookDaysThatEnded();

async function startOther(): Promise<TestApp> {
  other = await startTestApp({ databaseUrl: service.databaseUrl });
  jest.spyOn(other.app.get<Clock>(LEDGER_CLOCK), 'nowMs').mockImplementation(() => nowMs);
  return other;
}

async function booked(): Promise<Record<string, bigint>> {
  const rows = await service.dataSource.query<{ reference: string; amount_micros: string }[]>(
    `SELECT reference, amount_micros FROM transfers
      WHERE account_id = 'acct_platform' AND debit_account = 'upstream_cost' AND credit_account = 'upstream_payable'
      ORDER BY seq`,
  );
  return Object.fromEntries(rows.map((row) => [row.reference, BigInt(row.amount_micros)]));
}

/** As a process that was slow writes it: a cost of a day that is over. */
async function writeLate(createdAtMs: number, costMicros: bigint): Promise<void> {
  await service.dataSource.query(
    `INSERT INTO generation_tasks (account_id, generation_id, position, attempt, provider, task_id, polling_url,
                                   upstream_cost_micros, status, failure, created_at, finished_at)
     SELECT account_id, generation_id, 9, 1 + max(attempt), provider, 'late', 'http://127.0.0.1/late', $1, 'failed', 'failed', $2, $2
       FROM generation_tasks GROUP BY account_id, generation_id, provider LIMIT 1`,
    [costMicros.toString(), new Date(createdAtMs).toISOString()],
  );
}

async function callEachDay(days: readonly number[]): Promise<void> {
  nowMs = noon(days[0] ?? 0);
  const customer = await service.createCustomer({ grantMicros: 1_000_000n });
  for (const daysAgo of days) {
    nowMs = noon(daysAgo);
    (await generate(customer, { n: 2, size: LARGE })).expect(200);
  }
}

describe('what providers charge us', () => {
  it('is booked once a day and provider, when the day is over, however often and by whomever', async () => {
    await callEachDay([4, 3, 3]);
    await book();
    const first = { [`upstream_cost:${dayOf(noon(4))}:${PROVIDER}`]: 2n * COST_MICROS };
    expect(await booked()).toEqual(first);
    nowMs = noon(2);
    const second = await startOther();
    await Promise.all([book(), book(second), book(), book(second)]);
    await book(second);
    const both = { ...first, [`upstream_cost:${dayOf(noon(3))}:${PROVIDER}`]: 4n * COST_MICROS };
    expect(await booked()).toEqual(both);
    expect(await findDiscrepancies(service.dataSource)).toEqual([]);
  });

  it('is booked in a second transfer where a cost was written after its day was booked', async () => {
    await callEachDay([4]);
    nowMs = noon(3);
    await book();
    await writeLate(noon(4), 7n);
    await Promise.all([book(), book()]);
    await writeLate(noon(4), 8n);
    await book();
    const reference = `upstream_cost:${dayOf(noon(4))}:${PROVIDER}`;
    expect(await booked()).toEqual({
      [reference]: 2n * COST_MICROS,
      [`${reference}:2`]: 7n,
      [`${reference}:3`]: 8n,
    });
    await book();
    expect(Object.keys(await booked())).toHaveLength(3);
  });

  it('is booked once though two runs counted differently, and the answer of one was lost', async () => {
    await callEachDay([4]);
    nowMs = noon(3);
    const second = await startOther();
    const engine = service.app.get(WalletEngine);
    const execute = engine.execute.bind(engine);
    const lost = jest.spyOn(engine, 'execute').mockImplementation(async (command) => {
      // Another run counts more, books first, and then the process dies between the commit and its answer.
      await writeLate(noon(4), 5n);
      await book(second);
      await execute(command).catch((error: unknown) =>
        expect(error).toMatchObject({ code: 'reference_conflict' }),
      );
      throw new Error('killed');
    });
    await expect(book()).rejects.toThrow('killed');
    lost.mockRestore();
    await book();
    expect(await booked()).toEqual({
      [`upstream_cost:${dayOf(noon(4))}:${PROVIDER}`]: 2n * COST_MICROS + 5n,
    });
  });

  it('is made up for after an outage, and is not asked of calls over customers’ own keys', async () => {
    await callEachDay([20, 12, 4]);
    nowMs = noon(3);
    const keyed = await service.createCustomer();
    await attach(keyed, makeProviderKey(service));
    (await generate(keyed, { size: LARGE })).expect(200);
    nowMs = noon(1);
    await book();
    expect(await booked()).toEqual(
      Object.fromEntries(
        [20, 12, 4].map((daysAgo) => [`upstream_cost:${dayOf(noon(daysAgo))}:${PROVIDER}`, 2n * COST_MICROS]),
      ),
    );
  });

  it('is missed by the doctor where it was not booked, and where more was booked than there was', async () => {
    await callEachDay([5]);
    const row = `account_id=acct_platform reference=upstream_cost:${dayOf(noon(5))}:${PROVIDER}`;
    const named = async () => findDiscrepancies(service.dataSource);
    expect(await named()).toEqual([
      { table: 'transfers', key: row, column: 'amount_micros', expected: '30000', found: '0' },
    ]);
    nowMs = noon(3);
    await book();
    expect(await named()).toEqual([]);
    await service.dataSource.query('UPDATE generation_tasks SET upstream_cost_micros = 1');
    expect(await named()).toEqual([
      { table: 'transfers', key: row, column: 'amount_micros', expected: '2', found: '30000' },
    ]);
    await service.dataSource.query('UPDATE generation_tasks SET upstream_cost_micros = 15000');
  });
});
