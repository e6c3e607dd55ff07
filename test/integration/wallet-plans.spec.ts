import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { DatabaseClock } from '../../src/platform/database/ledger-clock.js';
import { applicationDataSourceOptions } from '../../src/platform/database/data-source.js';
import type { WalletCommand } from '../../src/money/wallets/rules/command.js';
import { WalletStore } from '../../src/money/wallets/store/wallet-store.js';
import { createAccount, createKey } from '../support/database/engine.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

type Prepared = { readonly name: string; readonly statement: string; readonly parameters: number };

/** Reads all of a table or of an index: a scan that no condition of the statement narrows down. */
function fullScansOf(plan: readonly string[]): string[] {
  return plan.filter((line, index) => {
    if (!/\b(Seq|Index|Index Only|Bitmap Heap|Bitmap Index|Tid) Scan\b/.test(line)) return false;
    return !/(Index|TID|Recheck) Cond/.test(plan[index + 1] ?? '');
  });
}

/**
 * A batch's statements are planned once a connection. Statistics of an almost empty table, which is what a new
 * service has, make a full scan look cheapest, and it would be kept while the table grows to millions.
 */
describe('the plans of the wallet store', () => {
  let database: TestDatabase;
  let dataSource: DataSource;

  beforeAll(async () => {
    database = await createTestDatabase();
    dataSource = await new DataSource(applicationDataSourceOptions(database.serviceUrl, 1)).initialize();
  });

  afterAll(async () => {
    await dataSource.destroy();
    await database.drop();
  });

  it('look up by key, even those that were made while every table was empty', async () => {
    const prepared = await runEveryShape();
    expect(prepared.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        'lock_wallets',
        'load_lots',
        'load_holds_by_id',
        'load_holds_by_reference',
        'load_budgets',
        'load_key_use',
        'load_provider_keys',
        'load_late_holds_of_call',
      ]),
    );
    for (const shape of ['write:', 'write_lone:']) {
      expect(prepared.filter(({ name }) => name.startsWith(shape)).length).toBeGreaterThan(3);
    }
    const empty = await createTestDatabase();
    const planner = await new DataSource({ type: 'postgres', url: empty.url }).initialize();
    try {
      // Also the statistics say now that nothing is there; without them the planner assumes ten pages.
      await planner.query('VACUUM ANALYZE');
      expect(await plansWithFullScans(planner, prepared)).toEqual([]);
    } finally {
      await planner.destroy();
      await empty.drop();
    }
  });

  /** Every kind of lookup and of row, alone and for two accounts at once, through the one connection. */
  async function runEveryShape(): Promise<Prepared[]> {
    const store = new WalletStore(dataSource, new DatabaseClock(dataSource));
    const [lone, first, second] = [await stepsOfAccount(), await stepsOfAccount(), await stepsOfAccount()];
    const batches = [...lone, ...first.map((commands, index) => [...commands, ...(second[index] ?? [])])];
    for (const commands of batches) {
      // A wallet that was only just made is decided the second time.
      const results = await store.run(commands);
      const retried = results.includes(null) ? await store.run(commands, commands[0]?.accountId) : results;
      for (const result of retried) expect(result?.accepted).toBe(true);
    }
    return dataSource.query<Prepared[]>(
      `SELECT name, statement, cardinality(parameter_types) AS parameters FROM pg_prepared_statements
        WHERE name NOT IN ('begin', 'commit', 'engine_settings', 'create_wallets', 'rollback')`,
    );
  }

  async function stepsOfAccount(): Promise<WalletCommand[][]> {
    const accountId = await createAccount(dataSource);
    const keyId = await createKey(dataSource, accountId);
    const addressed = { accountId, actor: 'test' } as const;
    const named = (reference: string) => ({ ...addressed, reference, fingerprint: '', memo: null });
    const amountMicros = micros(1_000n);
    const [kept, voided, ofKey] = [newId('hold'), newId('hold'), newId('hold')];
    const limiting = { ...addressed, type: 'setKeyBudget', keyId, counted: null } as const;
    const expiresAtMs = Date.now() + 60_000;
    const attempt = {
      number: null,
      beganAtMs: Date.now(),
      beganAtMonotonicMs: performance.now(),
      otherCallsHoldIds: [ofKey],
    };
    const ofWallet = { type: 'authorize', unlessOwnKeyAt: ['black_forest_labs'] } as const;
    return [
      [
        {
          ...named('grant'),
          type: 'grant',
          lotId: newId('creditLot'),
          amountMicros: micros(10_000n),
          priority: 0,
          expiresAtMs: null,
        },
      ],
      [{ ...named('kept'), type: 'authorize', keyId: null, holdId: kept, amountMicros, expiresAtMs }],
      [{ ...named('voided'), type: 'authorize', keyId: null, holdId: voided, amountMicros, expiresAtMs }],
      [{ ...addressed, type: 'capture', holdId: kept, amountMicros, memo: null }],
      [{ ...addressed, type: 'void', holdId: voided }],
      [{ ...named('debit'), type: 'debit', keyId: null, amountMicros }],
      [{ ...limiting, limits: { day: micros(5_000n) } }],
      [{ ...named('of key'), type: 'authorize', keyId, holdId: ofKey, amountMicros, expiresAtMs }],
      [{ ...named('silent'), ...ofWallet, keyId, holdId: newId('hold'), amountMicros, expiresAtMs, attempt }],
      [{ ...named('no own key'), ...ofWallet, keyId, holdId: newId('hold'), amountMicros, expiresAtMs }],
      [{ ...addressed, type: 'capture', holdId: ofKey, amountMicros: micros(1n), memo: null }],
      [{ ...named('key debit'), actor: `account_key:${keyId}`, type: 'debit', keyId, amountMicros }],
      [{ ...limiting, limits: { day: null } }],
    ];
  }

  async function plansWithFullScans(planner: DataSource, prepared: readonly Prepared[]): Promise<string[]> {
    const runner = planner.createQueryRunner();
    try {
      await runner.query('SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan');
      const found: string[] = [];
      for (const { name, statement, parameters } of prepared) {
        // A generic plan knows no values, so any will do. `EXPLAIN (GENERIC_PLAN)` came with PostgreSQL 16.
        const values = parameters === 0 ? '' : `(${Array(parameters).fill('NULL').join(', ')})`;
        await runner.query(`PREPARE explained AS ${statement}`);
        const rows = (await runner.query(`EXPLAIN EXECUTE explained${values}`)) as Record<string, string>[];
        await runner.query('DEALLOCATE explained');
        found.push(
          ...fullScansOf(rows.map((row) => row['QUERY PLAN'] ?? '')).map((line) => `${name}: ${line.trim()}`),
        );
      }
      return found;
    } finally {
      await runner.release();
    }
  }
});
