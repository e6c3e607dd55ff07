import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { findDiscrepancies } from '../../src/finance/audit/examine-books.js';
import type { Outcome } from '../../src/money/wallets/rules/command.js';
import { KeyBudgetsService } from '../../src/money/spend-limits/key-budgets.service.js';
import type { KeyLimitReachedError } from '../../src/money/wallets/wallet.errors.js';
import {
  addCredit,
  answerOf,
  createAccount,
  createKey,
  startEngine,
  type EngineProcess,
} from '../support/database/engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually } from '../support/processes.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const IMAGE = 40_000n;
const MIDNIGHT_MS = Date.parse('2026-02-01T00:00:00Z');

let database: TestDatabase;
/** Two processes whose clocks differ. */
let first: EngineProcess & { budgets: KeyBudgetsService };
let second: EngineProcess & { budgets: KeyBudgetsService };
let owner: DataSource;
let firstMs = MIDNIGHT_MS;
let secondMs = MIDNIGHT_MS;
let accountId: string;
let keyId: string;

beforeAll(async () => {
  database = await createTestDatabase();
  owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
  const start = async (clock: { nowMs: () => number }) => {
    const started = await startEngine(database.url, clock);
    return { ...started, budgets: new KeyBudgetsService(started.dataSource, started.engine, clock) };
  };
  first = await start({ nowMs: () => firstMs });
  second = await start({ nowMs: () => secondMs });
});
beforeEach(async () => {
  // The chain's last row is older than any time that a test plays with.
  setClocks(-60_000, -60_000);
  accountId = await createAccount(first.dataSource);
  keyId = await createKey(first.dataSource, accountId);
  await addCredit(first.engine, accountId, 100_000_000);
  setClocks(0, 0);
});
afterEach(() => expectBooksToBalance(first.dataSource));
afterAll(async () => {
  await first.dataSource.destroy();
  await second.dataSource.destroy();
  await owner.destroy();
  await database.drop();
});

/** Milliseconds from the midnight that ends January. */
function setClocks(firstsMs: number, secondsMs: number): void {
  firstMs = MIDNIGHT_MS + firstsMs;
  secondMs = MIDNIGHT_MS + secondsMs;
}

function authorize(
  { engine }: EngineProcess,
  images = 1n,
  holdId = newId('hold'),
  key: string | null = keyId,
): Promise<Outcome> {
  return engine.execute({
    type: 'authorize',
    accountId,
    actor: key === null ? 'test' : `account_key:${key}`,
    keyId: key,
    holdId,
    reference: `hold:${holdId}`,
    fingerprint: '',
    memo: null,
    amountMicros: micros(images * IMAGE),
    expiresAtMs: MIDNIGHT_MS + 86_400_000,
  });
}

function debit({ engine }: EngineProcess, reference: string = newId('request')): Promise<Outcome> {
  return engine.execute({
    type: 'debit',
    accountId,
    actor: `account_key:${keyId}`,
    keyId,
    reference: `debit:${reference}`,
    fingerprint: '',
    memo: null,
    amountMicros: micros(IMAGE),
  });
}

function capture({ engine }: EngineProcess, holdId: string, images = 1n): Promise<Outcome> {
  const amountMicros = micros(images * IMAGE);
  // As recovery does it: the key that called does not stand on these rows.
  return engine.execute({ type: 'capture', accountId, actor: 'system', holdId, amountMicros, memo: null });
}

/** Use of the day, the month and ever, in images; null without a budget. */
async function usedImages(process = first): Promise<bigint[] | null> {
  const budget = (await process.budgets.find(accountId, [keyId])).get(keyId);
  return budget ? [budget.used.day, budget.used.month, budget.used.total].map((used) => used / IMAGE) : null;
}

const limit = (images: bigint | null) => (images === null ? null : micros(images * IMAGE));

describe("a key's spend limit", () => {
  it('is exact when it is set in the middle of traffic over two processes', async () => {
    for (let round = 0; round < 8; round += 1) {
      keyId = await createKey(first.dataSource, accountId);
      const allowed = 20n;
      const spend = async (call: number): Promise<string> => {
        const process = call % 2 === 0 ? first : second;
        if (call % 3 === 0) return answerOf(debit(process));
        const holdId = newId('hold');
        const answer = await answerOf(authorize(process, 2n, holdId));
        if (answer === 'ok') await (call % 3 === 1 ? capture(process, holdId) : capture(process, holdId, 2n));
        return answer;
      };
      // In the first round none is answered when the limit is set, in the last one most of them are.
      const answers: string[] = [];
      const calls = Array.from({ length: 60 }, (_, call) => call).values();
      const clients = Array.from({ length: 10 }, async () => {
        for (const call of calls) answers.push(await spend(call));
      });
      await eventually('so many are answered', () => answers.length >= round * 6);
      await first.budgets.set(accountId, keyId, { total: limit(allowed) }, 'test');
      await Promise.all(clients);
      const [row] = await first.dataSource.query<{ used: string }[]>(
        `SELECT (SELECT coalesce(sum(captured_micros), 0) FROM holds WHERE key_id = $1)
              + (SELECT coalesce(sum(amount_micros), 0) FROM transfers WHERE kind = 'debit' AND actor = 'account_key:' || $1) AS used`,
        [keyId],
      );
      // The limit may come after more was spent than it allows; it counts all of that, and lets nothing more through.
      expect((await usedImages())?.[2]).toBe(BigInt(row?.used ?? '-1') / IMAGE);
      expect(new Set([...answers, 'ok', 'key_limit_reached'])).toEqual(new Set(['ok', 'key_limit_reached']));
      const used = (await usedImages())?.[2] ?? 0n;
      for (let left = allowed - used; left > 0n; left -= 1n) expect(await answerOf(debit(second))).toBe('ok');
      expect(await answerOf(debit(second))).toBe('key_limit_reached');
      await expectBooksToBalance(first.dataSource);
    }
  });

  it('counts holds from before it was set: open ones in full, and gives back what they do not capture', async () => {
    const [open, partly] = [newId('hold'), newId('hold')];
    await authorize(first, 3n, open);
    await authorize(first, 4n, partly);
    await capture(second, partly, 1n);
    await debit(first);
    await second.budgets.set(accountId, keyId, { day: limit(6n) }, 'test');
    expect(await usedImages()).toEqual([5n, 5n, 5n]);
    expect(await answerOf(authorize(first, 2n))).toBe('key_limit_reached');
    await capture(second, open, 1n);
    expect(await usedImages()).toEqual([3n, 3n, 3n]);
    expect(await answerOf(authorize(first, 3n))).toBe('ok');
    expect(await answerOf(debit(second))).toBe('key_limit_reached');
  });

  it('counts a hold in the day and month in which it was authorized, whenever it is captured or voided', async () => {
    setClocks(-1_000, -1_000);
    await first.budgets.set(
      accountId,
      keyId,
      { day: limit(5n), month: limit(8n), total: limit(100n) },
      'test',
    );
    const [captured, voided] = [newId('hold'), newId('hold')];
    await authorize(first, 3n, captured);
    await authorize(first, 2n, voided);
    expect(await answerOf(debit(first))).toBe('key_limit_reached');
    setClocks(1_000, 1_000);
    expect(await usedImages()).toEqual([0n, 0n, 5n]);
    expect(await answerOf(authorize(second, 5n))).toBe('ok');
    await capture(first, captured, 1n);
    await second.engine.execute({ type: 'void', accountId, actor: 'system', holdId: voided });
    expect(await usedImages()).toEqual([5n, 5n, 6n]);
    setClocks(86_400_000, 86_400_000);
    expect(await answerOf(authorize(first, 3n))).toBe('ok');
    expect(await answerOf(authorize(first, 1n))).toBe('key_limit_reached');
    expect(await usedImages()).toEqual([3n, 8n, 9n]);
  });

  it('never runs back in time, however far the clocks of two processes differ around midnight', async () => {
    setClocks(1_500, -1_500);
    await first.budgets.set(accountId, keyId, { day: limit(2n) }, 'test');
    const holdId = newId('hold');
    expect(await answerOf(debit(first))).toBe('ok');
    // In the second process the day before has not ended; its spends count in the day that has begun.
    expect(await answerOf(authorize(second, 1n, holdId))).toBe('ok');
    expect(await answerOf(debit(second))).toBe('key_limit_reached');
    await second.engine.execute({ type: 'void', accountId, actor: 'system', holdId });
    expect(await usedImages()).toEqual([1n, 1n, 1n]);
    expect(await answerOf(debit(second))).toBe('ok');
    expect(await answerOf(debit(first))).toBe('key_limit_reached');
  });

  it('is found again when a limit is set after a process whose clock is ahead has counted', async () => {
    setClocks(1_500, -1_500);
    const holdId = newId('hold');
    await authorize(first, 2n, holdId);
    await second.budgets.set(accountId, keyId, { day: limit(2n) }, 'test');
    expect(await answerOf(debit(second))).toBe('key_limit_reached');
    await capture(second, holdId, 1n);
    expect(await answerOf(debit(second))).toBe('ok');
    expect(await answerOf(debit(first))).toBe('key_limit_reached');
  });

  it('counts a debit in the day under which the ledger has it, where another process has begun that day', async () => {
    setClocks(1_500, -1_500);
    await second.budgets.set(accountId, keyId, { day: limit(1n) }, 'test');
    expect(await answerOf(debit(second))).toBe('ok');
    await addCredit(first.engine, accountId, 1);
    expect(await answerOf(debit(second))).toBe('ok');
    expect(await answerOf(debit(first))).toBe('key_limit_reached');
    expect(await usedImages()).toEqual([1n, 1n, 2n]);
  });

  it('counts a reference once, however often it is sent', async () => {
    await first.budgets.set(accountId, keyId, { total: limit(2n) }, 'test');
    const holdId = newId('hold');
    const answers = await Promise.all([
      ...Array.from({ length: 10 }, (_, copy) => answerOf(debit(copy % 2 ? first : second, 'same'))),
      ...Array.from({ length: 10 }, (_, copy) => answerOf(authorize(copy % 2 ? first : second, 1n, holdId))),
    ]);
    expect(answers.filter((answer) => answer === 'ok')).toHaveLength(2);
    expect(answers.filter((answer) => answer === 'again')).toHaveLength(18);
    expect(await usedImages()).toEqual([2n, 2n, 2n]);
  });

  it('says which limit is reached, how much of it is used, and when it ends', async () => {
    await first.budgets.set(accountId, keyId, { day: limit(3n), month: limit(4n), total: limit(9n) }, 'test');
    await authorize(first, 3n);
    const problem = (await debit(first).catch((error: unknown) => error)) as KeyLimitReachedError;
    expect(problem.message).toBe(
      'This API key may spend $0.12 a day: $0.12 is used, $0.00 is left and this needs $0.04. Nothing was charged. ' +
        "Raise the key's spend limit, wait until 2026-02-02T00:00:00.000Z, or use another key.",
    );
    expect(problem).toMatchObject({ code: 'key_limit_reached', status: 402, shouldRetry: false });
    expect(problem.details).toEqual({
      charged_micros: '0',
      required_micros: '40000',
      available_micros: '99880000',
      held_micros: '120000',
      shortfall_micros: '40000',
      limit_source: 'key',
      limit_period: 'day',
      limit_micros: '120000',
      used_micros: '120000',
      resets_at: Date.parse('2026-02-02T00:00:00Z') / 1_000,
    });
    // Of several limits the one that lasts longest: waiting for the day's end would not help.
    const [monthly, ever] = await Promise.all(
      [10n, 12n].map((images) => authorize(first, images).catch(String)),
    );
    expect([monthly, ever].map(String)).toEqual([
      expect.stringContaining('may spend $0.36 in total'),
      expect.stringContaining('may spend $0.36 in total'),
    ]);
    expect(await authorize(first, 2n).catch(String)).toContain('may spend $0.16 a month');
  });

  it('is no sign of an empty wallet: a refusal by it raises no alarm, even for more than the wallet holds', async () => {
    await first.budgets.set(accountId, keyId, { total: limit(1n) }, 'test');
    expect(await answerOf(authorize(first, 1_000_000n))).toBe('key_limit_reached');
    const [wallet] = await first.dataSource.query('SELECT level FROM wallets WHERE account_id = $1', [
      accountId,
    ]);
    expect(wallet).toEqual({ level: 'ample' });
    // Without a key, the same call reports that the wallet cannot pay for it.
    expect(await answerOf(authorize(first, 1_000_000n, newId('hold'), null))).toBe('insufficient_credits');
    const [walletAfter] = await first.dataSource.query('SELECT level FROM wallets WHERE account_id = $1', [
      accountId,
    ]);
    expect(walletAfter).toEqual({ level: 'depleted' });
  });

  it('may be lowered below what was used, then nothing more is spent; taken away, nothing is counted any more', async () => {
    await first.budgets.set(accountId, keyId, { day: limit(5n) }, 'test');
    await authorize(first, 4n);
    await second.budgets.set(accountId, keyId, { day: limit(2n) }, 'test');
    expect(await answerOf(debit(first))).toBe('key_limit_reached');
    expect(await second.budgets.set(accountId, keyId, { day: null }, 'test')).toBeNull();
    expect(await usedImages()).toBeNull();
    expect(await answerOf(debit(first))).toBe('ok');
    expect((await first.budgets.set(accountId, keyId, { month: limit(6n) }, 'test'))?.used.month).toBe(
      5n * IMAGE,
    );
    expect(await answerOf(first.budgets.set(accountId, keyId, { day: micros(0n) }, 'test') as never)).toBe(
      'invalid_amount',
    );
  });

  it('is counted under the lock when it was taken away while the use was counted without one', async () => {
    await first.budgets.set(accountId, keyId, { day: limit(5n) }, 'test');
    await debit(first);
    await first.budgets.set(accountId, keyId, { day: null }, 'test');
    // What was counted before is not known: all of the chain is counted under the lock.
    const outcome = await first.engine.execute({
      type: 'setKeyBudget',
      accountId,
      actor: 'test',
      keyId,
      limits: { day: limit(3n) },
      counted: null,
    });
    expect(outcome).toMatchObject({ type: 'key_budget', budget: { used: { total: IMAGE } } });
  });

  it('counts calls of the time before holds named their key by the key that captured them', async () => {
    const holdId = newId('hold');
    await authorize(first, 3n, holdId, null);
    await first.engine.execute({
      type: 'capture',
      accountId,
      actor: `account_key:${keyId}`,
      holdId,
      amountMicros: micros(2n * IMAGE),
      memo: null,
    });
    await first.budgets.set(accountId, keyId, { total: limit(3n) }, 'test');
    expect(await usedImages()).toEqual([2n, 2n, 2n]);
  });

  it('limits its own key alone', async () => {
    await first.budgets.set(accountId, keyId, { total: limit(1n) }, 'test');
    await debit(first);
    expect(await answerOf(debit(first))).toBe('key_limit_reached');
    expect(await answerOf(authorize(first, 5n, newId('hold'), null))).toBe('ok');
    keyId = await createKey(first.dataSource, accountId);
    expect(await answerOf(debit(first))).toBe('ok');
  });
});

describe('a budget in the database', () => {
  it('refuses use beyond a limit, use without order, and a limit of nothing, for every writer', async () => {
    await first.budgets.set(accountId, keyId, { day: limit(2n), total: limit(5n) }, 'test');
    await debit(first);
    const write = (change: string) =>
      owner.query(`UPDATE key_budgets SET ${change} WHERE key_id = $1`, [keyId]).catch(String);
    const more = 'day_used_micros = 90000, month_used_micros = 90000, total_used_micros = 90000';
    expect(await write(more)).toContain('would have spent beyond its limit');
    expect(await write('total_used_micros = 200001')).toContain('would have spent beyond its limit');
    expect(await write(`day = '2026-02-02', ${more}`)).toContain('would have spent beyond its limit');
    expect(await write('day_used_micros = 50000')).toContain('key_budgets_used_nested');
    expect(await write('day_limit_micros = 0')).toContain('key_budgets_limits_positive');
    expect(await write('day_limit_micros = NULL, total_limit_micros = NULL')).toContain(
      'key_budgets_limited',
    );
    expect(await write('day_limit_micros = 1')).not.toContain('Error');
    await first.budgets.set(accountId, keyId, { day: limit(2n) }, 'test');
  });

  it.each(['day_used_micros', 'month_used_micros', 'total_used_micros', 'day'])(
    'is named by the doctor when its %s is not what the holds and debits say',
    async (column) => {
      await first.budgets.set(accountId, keyId, { total: limit(50n) }, 'test');
      await authorize(first, 2n);
      await debit(second);
      const harm = {
        day_used_micros: 'day_used_micros - 1',
        month_used_micros: 'month_used_micros + 1, total_used_micros = total_used_micros + 1',
        total_used_micros: 'total_used_micros + 1',
        day: `DATE '2026-01-31'`,
      }[column];
      const [row] = await owner.query('SELECT * FROM key_budgets WHERE key_id = $1', [keyId]);
      await owner.query(`UPDATE key_budgets SET ${column} = ${harm} WHERE key_id = $1`, [keyId]);
      const found = await findDiscrepancies(first.dataSource, ['unasked credits', 'unasked refunds']);
      expect(found).toContainEqual(
        expect.objectContaining({
          table: 'key_budgets',
          key: `account_id=${accountId} key_id=${keyId}`,
          column,
        }),
      );
      await owner.query(
        `UPDATE key_budgets SET day = '2026-02-01', day_used_micros = $2, month_used_micros = $3, total_used_micros = $4
          WHERE key_id = $1`,
        [keyId, row.day_used_micros, row.month_used_micros, row.total_used_micros],
      );
    },
  );

  it('is named by the doctor when it limits a key of another account', async () => {
    const stranger = await createKey(first.dataSource, await createAccount(first.dataSource));
    await owner.query(`INSERT INTO key_budgets VALUES ($1, $2, 1, NULL, NULL, '2026-02-01', 0, 0, 0)`, [
      accountId,
      stranger,
    ]);
    const found = await findDiscrepancies(first.dataSource, ['unasked credits', 'unasked refunds']);
    expect(found).toMatchObject([{ table: 'key_budgets', column: 'key_id' }]);
    await owner.query('DELETE FROM key_budgets WHERE key_id = $1', [stranger]);
  });
});
