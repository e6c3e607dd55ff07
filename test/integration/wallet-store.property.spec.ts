import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectBooksToBalance } from '../fixtures/books.js';
import {
  answerOf,
  createAccount,
  createKey,
  startEngine,
  type EngineProcess,
} from '../support/database/engine.js';
import { checkProperty } from '../support/property.js';
import { ReferenceWallet } from '../support/wallet/reference-wallet.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';
import {
  keyScripts,
  SCRIPT_KEYS,
  SCRIPT_START_MS,
  walletScripts,
  type Step,
} from '../support/wallet/wallet-script.js';

type WalletRow = { posted_micros: string; held_micros: string; debt_micros: string; status: string };

describe('the wallet engine on a real database, over random histories', () => {
  let database: TestDatabase;
  let first: EngineProcess;
  let second: EngineProcess;
  let nowMs = SCRIPT_START_MS;

  beforeAll(async () => {
    database = await createTestDatabase();
    const clock = { nowMs: () => nowMs };
    first = await startEngine(database.url, clock);
    second = await startEngine(database.url, clock);
  });

  afterAll(async () => {
    await first.dataSource.destroy();
    await second.dataSource.destroy();
    await database.drop();
  });

  async function storedWallet(accountId: string): Promise<string[]> {
    const rows = await first.dataSource.query<WalletRow[]>(
      'SELECT posted_micros, held_micros, debt_micros, status FROM wallets WHERE account_id = $1',
      [accountId],
    );
    const row = rows[0] ?? { posted_micros: '0', held_micros: '0', debt_micros: '0', status: 'active' };
    return [row.posted_micros, row.held_micros, row.debt_micros, row.status];
  }

  /** What the ledger has come to, in the words of the reference model. */
  async function bookedOf(accountId: string): Promise<Record<string, number>> {
    const balance = (account: string): string =>
      `coalesce(sum(CASE '${account}' WHEN debit_account THEN amount_micros WHEN credit_account THEN -amount_micros END), 0)::int`;
    const [row] = await first.dataSource.query<Record<string, number>[]>(
      `SELECT -${balance('usage_revenue')} AS revenue, ${balance('stripe_clearing')} AS "atStripe",
              ${balance('dispute_losses')} AS losses FROM transfers WHERE account_id = $1`,
      [accountId],
    );
    return row ?? {};
  }

  type KeyIds = ReadonlyMap<string, string>;

  async function createKeys(accountId: string): Promise<KeyIds> {
    const keys: [string, string][] = [];
    for (const name of SCRIPT_KEYS) keys.push([name, await createKey(first.dataSource, accountId)]);
    return new Map(keys);
  }

  /** Compares the stored use of each limited key with what the reference model says of the same day. */
  async function expectBudgets(accountId: string, reference: ReferenceWallet, keys: KeyIds): Promise<void> {
    const rows = await first.dataSource.query<Record<string, string>[]>(
      `SELECT key_id, day::text AS day, day_used_micros, month_used_micros, total_used_micros
         FROM key_budgets WHERE account_id = $1`,
      [accountId],
    );
    const expected = [...keys].flatMap(([name, id]) => {
      const limits = Object.values(reference.limits.get(name) ?? {});
      if (limits.every((limit) => limit === null)) return [];
      const day = rows.find((row) => row['key_id'] === id)?.['day'] ?? 'no row';
      const [used, month, total] = reference.used(name, Date.parse(day)).map(String);
      return [{ key_id: id, day, day_used_micros: used, month_used_micros: month, total_used_micros: total }];
    });
    const byKey = (a: Record<string, unknown>, b: Record<string, unknown>): number =>
      String(a['key_id']) < String(b['key_id']) ? -1 : 1;
    expect(rows.sort(byKey)).toEqual(expected.sort(byKey));
  }

  it('answers and stores what the naive reference model says, step by step, through two processes in turn', async () => {
    const play = async (steps: readonly Step[]): Promise<void> => {
      const accountId = await createAccount(first.dataSource);
      const keys = await createKeys(accountId);
      const reference = new ReferenceWallet();
      const used = new Set<string>();
      nowMs = SCRIPT_START_MS;
      for (const [index, { afterMs, command: drawn }] of steps.entries()) {
        nowMs += afterMs;
        const command = { ...drawn, accountId, ...ownKey(drawn, keys) };
        if (collides(used, command)) continue;
        const { engine } = index % 2 === 0 ? first : second;
        const answer = await answerOf(engine.execute(command));
        expect(`${index} ${command.type} ${answer}`).toBe(
          `${index} ${command.type} ${reference.run(drawn, nowMs)}`,
        );
        if (answer === 'ok') remember(used, command);
        expect(await storedWallet(accountId)).toEqual(
          [reference.posted, reference.held, reference.debt, reference.status].map(String),
        );
        await expectBudgets(accountId, reference, keys);
      }
      const { revenue, atStripe, losses } = reference;
      expect(await bookedOf(accountId)).toEqual({ revenue, atStripe, losses });
      await expectBooksToBalance(first.dataSource);
    };
    await checkProperty(
      'the store agrees with the reference model',
      fc.asyncProperty(fc.oneof(walletScripts('acct_x', 40), keyScripts('acct_x', 40)), play),
      {
        runs: 60,
      },
    );
  }, 120_000);

  it('keeps every invariant when two processes run random commands at the same time', async () => {
    const play = async (scripts: readonly (readonly Step[])[]): Promise<void> => {
      const accounts = [await createAccount(first.dataSource), await createAccount(first.dataSource)];
      const keys = [await createKeys(accounts[0] ?? ''), await createKeys(accounts[1] ?? '')];
      nowMs = SCRIPT_START_MS;
      await Promise.all(
        scripts.map(async (steps, lane) => {
          const { engine } = lane % 2 === 0 ? first : second;
          for (const { afterMs, command } of steps) {
            nowMs += afterMs;
            // Lots and holds of parallel histories get names of their own; references still collide.
            const own = {
              ...command,
              accountId: accounts[lane % accounts.length] ?? '',
              ...ownNames(command, lane),
              ...ownKey(command, keys[lane % keys.length] ?? new Map()),
            };
            await answerOf(engine.execute(own));
          }
        }),
      );
      await expectBooksToBalance(first.dataSource);
    };
    const script = fc.oneof(walletScripts('acct_x', 30), keyScripts('acct_x', 30));
    const scripts = fc.array(script, { minLength: 4, maxLength: 8 });
    await checkProperty('parallel histories keep the books', fc.asyncProperty(scripts, play), { runs: 40 });
  }, 120_000);
});

type Command = Step['command'];

/** Ids that random histories reuse where the product never would: such a step proves nothing. */
function collides(used: ReadonlySet<string>, command: Command): boolean {
  if ('lotId' in command && command.type !== 'reverseCredit') {
    return used.has(command.lotId) && !used.has(`${command.reference}`);
  }
  return command.type === 'authorize' && used.has(command.holdId) && !used.has(command.reference);
}

function remember(used: Set<string>, command: Command): void {
  if ('lotId' in command && command.type !== 'reverseCredit') used.add(command.lotId).add(command.reference);
  if (command.type === 'authorize') used.add(command.holdId).add(command.reference);
}

type OwnNames = { lotId?: string; givenLotId?: string; holdId?: string };

function ownNames(command: Command, lane: number): OwnNames {
  if (command.type === 'reverseCredit') return {};
  if ('lotId' in command) {
    const lotId = `${command.lotId}_${lane}_${Math.random()}`;
    return { lotId, ...('givenLotId' in command ? { givenLotId: `${lotId}_given` } : {}) };
  }
  // Two in a pair share their holds, so the same hold is captured, voided and expired at the same time.
  return 'holdId' in command ? { holdId: `${command.holdId}_${lane >> 1}` } : {};
}

/** A key's id is its own in all of the database; the scripts know it by a name. */
function ownKey(command: Command, keys: ReadonlyMap<string, string>): { keyId?: string; actor?: string } {
  if (!('keyId' in command) || command.keyId === null) return {};
  const keyId = keys.get(command.keyId) ?? command.keyId;
  return { keyId, ...(command.type === 'debit' ? { actor: `account_key:${keyId}` } : {}) };
}
