import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { applicationDataSourceOptions } from '../../src/platform/database/data-source.js';
import type { WalletCommand } from '../../src/money/wallets/rules/command.js';
import { silentObserver, WalletEngine } from '../../src/money/wallets/wallet-engine.js';
import { WalletStore } from '../../src/money/wallets/store/wallet-store.js';
import {
  EngineSaturatedError,
  InsufficientCreditsError,
  ReferenceConflictError,
} from '../../src/money/wallets/wallet.errors.js';
import {
  addCredit,
  answerOf,
  createAccount,
  databaseClock,
  OVERLAPPING,
  startEngine,
  type EngineProcess,
} from '../support/database/engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const IMAGE = 40_000;

describe('the wallet engine', () => {
  let database: TestDatabase;
  let first: EngineProcess;
  let second: EngineProcess;

  beforeAll(async () => {
    database = await createTestDatabase();
    first = await startEngine(database.url);
    second = await startEngine(database.url);
  });

  afterEach(() => expectBooksToBalance(first.dataSource));

  afterAll(async () => {
    await first.dataSource.destroy();
    await second.dataSource.destroy();
    await database.drop();
  });

  const debit = (accountId: string, reference: string, amount = IMAGE): WalletCommand => ({
    type: 'debit',
    keyId: null,
    accountId,
    actor: 'test',
    reference: `debit:${reference}`,
    fingerprint: `${amount}`,
    memo: null,
    amountMicros: micros(BigInt(amount)),
  });

  const authorize = (
    accountId: string,
    holdId: string,
    amount = IMAGE,
    expiresAtMs = Date.now() + 60_000,
  ): WalletCommand => ({
    type: 'authorize',
    keyId: null,
    accountId,
    actor: 'test',
    reference: `hold:${holdId}`,
    fingerprint: `${amount}`,
    memo: null,
    holdId,
    amountMicros: micros(BigInt(amount)),
    expiresAtMs,
  });

  const resolve = (
    accountId: string,
    holdId: string,
    type: 'capture' | 'void' | 'expireHold',
  ): WalletCommand =>
    type === 'capture'
      ? { type, accountId, actor: 'test', holdId, amountMicros: micros(BigInt(IMAGE)), memo: null }
      : { type, accountId, actor: 'test', holdId };

  async function fundedAccount(images: number): Promise<string> {
    const accountId = await createAccount(first.dataSource);
    if (images > 0) await addCredit(first.engine, accountId, images * IMAGE);
    return accountId;
  }

  async function countRows(accountId: string, kind: string): Promise<number> {
    const rows = await first.dataSource.query<{ count: number }[]>(
      'SELECT count(*)::int AS count FROM transfers WHERE account_id = $1 AND kind = $2',
      [accountId, kind],
    );
    return rows[0]?.count ?? 0;
  }

  it('promise 1, hard cap: credit for 100 images gives exactly 100 captures to 1,000 calls through two processes', async () => {
    const accountId = await fundedAccount(100);
    const calls = Array.from({ length: 1_000 }, async (_, index) => {
      const { engine } = index % 2 === 0 ? first : second;
      const holdId = newId('hold');
      const answer = await answerOf(engine.execute(authorize(accountId, holdId)));
      return answer === 'ok' ? answerOf(engine.execute(resolve(accountId, holdId, 'capture'))) : answer;
    });
    const answers = await Promise.all(calls);
    expect(answers.filter((answer) => answer === 'ok')).toHaveLength(100);
    expect(answers.filter((answer) => answer === 'insufficient_credits')).toHaveLength(900);
    expect(await countRows(accountId, 'capture')).toBe(100);
  });

  it('promise 2, exactly once: 200 copies of one debit through two processes charge once', async () => {
    const accountId = await fundedAccount(50);
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        answerOf((index % 2 === 0 ? first : second).engine.execute(debit(accountId, 'same'))),
      ),
    );
    expect(answers.filter((answer) => answer === 'ok')).toHaveLength(1);
    expect(answers.filter((answer) => answer === 'again')).toHaveLength(199);
    expect(await countRows(accountId, 'debit')).toBe(1);
  });

  it('refuses a reference that comes back with another amount, and charges nothing', async () => {
    const accountId = await fundedAccount(5);
    await first.engine.execute(debit(accountId, 'twice'));
    await expect(first.engine.execute(debit(accountId, 'twice', 80_000))).rejects.toThrow(
      ReferenceConflictError,
    );
    expect(await countRows(accountId, 'debit')).toBe(1);
  });

  it('gives a hold exactly one end when capture, void and expiry race in two processes', async () => {
    const accountId = await fundedAccount(60);
    const ends = await Promise.all(
      Array.from({ length: 60 }, async () => {
        const holdId = newId('hold');
        await first.engine.execute(authorize(accountId, holdId, IMAGE, Date.now() - 1));
        const answers = await Promise.all(
          (['capture', 'void', 'expireHold'] as const).map((type, index) =>
            answerOf((index % 2 === 0 ? first : second).engine.execute(resolve(accountId, holdId, type))),
          ),
        );
        return answers.filter((answer) => answer === 'ok').length;
      }),
    );
    expect(ends).toEqual(Array.from({ length: 60 }, () => 1));
  });

  it('lets neighbours through when the database refuses one command of their batch', async () => {
    const accountId = await fundedAccount(20);
    const poisoned = { ...debit(accountId, 'poison'), actor: 'nul \u0000 byte' };
    const commands = Array.from({ length: 20 }, (_, index) =>
      index === 7 ? poisoned : debit(accountId, `n${index}`),
    );
    const answers = await Promise.all(commands.map((command) => answerOf(first.engine.execute(command))));
    expect(answers.filter((answer) => answer === 'ok')).toHaveLength(19);
    expect(answers[7]).not.toBe('ok');
    expect(await countRows(accountId, 'debit')).toBe(19);
  });

  it('posts no text that the database would store differently than it was hashed', async () => {
    const accountId = await fundedAccount(2);
    const half = { ...debit(accountId, 'half'), memo: 'half a character \ud83e' } as WalletCommand;
    const answers = await Promise.all(
      [half, debit(accountId, 'whole')].map((c) => answerOf(first.engine.execute(c))),
    );
    expect(answers[0]).not.toBe('ok');
    expect(answers[1]).toBe('ok');
  });

  it('refuses an account that does not exist without failing its neighbours', async () => {
    const accountId = await fundedAccount(1);
    const [unknown, known] = await Promise.all([
      answerOf(first.engine.execute(debit(newId('account'), 'x'))),
      answerOf(first.engine.execute(debit(accountId, 'x'))),
    ]);
    expect([unknown, known]).toEqual(['resource_missing', 'ok']);
  });

  it('posts once when the connection is lost after COMMIT was sent and the batch is run again', async () => {
    const accountId = await fundedAccount(10);
    let lost = 0;
    /** Commits, then behaves as if the answer had never arrived. */
    class LossyStore extends WalletStore {
      override async run(commands: readonly WalletCommand[]) {
        const results = await super.run(commands);
        lost += 1;
        if (lost <= 2)
          throw Object.assign(new Error('Connection terminated unexpectedly'), { code: 'ECONNRESET' });
        return results;
      }
    }
    const store = new LossyStore(first.dataSource, databaseClock(first.dataSource));
    const engine = new WalletEngine(store, silentObserver, OVERLAPPING);
    const answers = await Promise.all(
      [1, 2, 3].map((n) => answerOf(engine.execute(debit(accountId, `lost-${n}`)))),
    );
    expect(answers.every((answer) => answer === 'ok' || answer === 'again')).toBe(true);
    expect(lost).toBeGreaterThan(2);
    expect(await countRows(accountId, 'debit')).toBe(3);
  });

  it('posts once when the process stood still inside a batch until the database ended its session', async () => {
    const accountId = await fundedAccount(10);
    const dataSource = await new DataSource(
      applicationDataSourceOptions(database.serviceUrl, 1),
    ).initialize();
    let stops = 1;
    /**
     * Between reading the wallets and writing them nothing of this process runs, as while it is suspended: for longer than the
     * engine's sessions may idle there.
     */
    const nowMs = (): number => {
      if (stops > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500);
      stops = 0;
      return Date.now();
    };
    const engine = new WalletEngine(
      new WalletStore(dataSource, databaseClock(dataSource, { nowMs })),
      silentObserver,
      OVERLAPPING,
    );
    // Alone in its batch: of several, each would be tried again by itself.
    expect(await answerOf(engine.execute(debit(accountId, 'stopped')))).toBe('ok');
    expect(stops).toBe(0);
    expect(await countRows(accountId, 'debit')).toBe(1);
    await dataSource.destroy();
  });

  it('never deadlocks two processes that touch the same wallets in opposite order', async () => {
    const accounts = await Promise.all(Array.from({ length: 12 }, () => fundedAccount(40)));
    const rounds = Array.from({ length: 30 }, async (_, round) => {
      const { engine } = round % 2 === 0 ? first : second;
      const order = round % 2 === 0 ? accounts : [...accounts].reverse();
      return Promise.all(
        order.map((accountId) => answerOf(engine.execute(debit(accountId, `round-${round}`)))),
      );
    });
    const answers = (await Promise.all(rounds)).flat();
    expect(answers.filter((answer) => answer === 'ok')).toHaveLength(30 * 12);
  });

  it('refuses with a 503 instead of queueing without bound', async () => {
    const accountId = await fundedAccount(1);
    // A lock held from outside keeps every batch waiting, so the queue fills.
    const blocker = first.dataSource.createQueryRunner();
    await blocker.startTransaction();
    await blocker.query('SELECT FROM wallets WHERE account_id = $1 FOR UPDATE', [accountId]);
    const waiting = Array.from({ length: 10_600 }, (_, index) =>
      answerOf(first.engine.execute(debit(accountId, `q${index}`))),
    );
    await expect(first.engine.execute(debit(accountId, 'beyond'))).rejects.toThrow(EngineSaturatedError);
    await blocker.rollbackTransaction();
    await blocker.release();
    const answers = await Promise.all(waiting);
    expect(answers.filter((answer) => answer === 'ok')).toHaveLength(1);
    expect(answers.filter((answer) => answer === 'engine_saturated').length).toBeGreaterThan(0);
  });

  it('says what was required, available, held and missing when it refuses', async () => {
    const accountId = await fundedAccount(1);
    await first.engine.execute(authorize(accountId, newId('hold'), 30_000));
    const refusal = await first.engine.execute(debit(accountId, 'too-much')).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(InsufficientCreditsError);
    expect((refusal as InsufficientCreditsError).details).toEqual({
      charged_micros: '0',
      required_micros: '40000',
      available_micros: '10000',
      held_micros: '30000',
      shortfall_micros: '30000',
      limit_source: 'wallet',
    });
  });
});

describe('what the database itself refuses', () => {
  let database: TestDatabase;
  let app: EngineProcess;
  let accountId: string;

  beforeAll(async () => {
    database = await createTestDatabase();
    app = await startEngine(database.url);
    accountId = await createAccount(app.dataSource);
    await addCredit(app.engine, accountId, 5 * IMAGE);
  });

  afterAll(async () => {
    await app.dataSource.destroy();
    await database.drop();
  });

  const refused = async (sql: string): Promise<string> => {
    const error: unknown = await app.dataSource.query(sql).catch((reason: unknown) => reason);
    return error instanceof Error ? error.message : 'accepted';
  };

  it.each([
    [
      'an update of a ledger row',
      'UPDATE transfers SET amount_micros = 1',
      /permission denied|never changed/,
    ],
    ['a deletion of a ledger row', 'DELETE FROM transfers', /permission denied|never changed/],
    ['a truncation of the ledger', 'TRUNCATE transfers', /permission denied|never changed/],
    ['spending below the floor', 'UPDATE wallets SET posted_micros = -1', /wallets_within_floor/],
    [
      'holding more than there is',
      'UPDATE wallets SET held_micros = posted_micros + 1',
      /wallets_within_floor/,
    ],
    [
      'a lot with more left than it had',
      'UPDATE credit_lots SET remaining_micros = granted_micros + 1',
      /credit_lots_within_grant/,
    ],
    ['a wallet being deleted', 'DELETE FROM wallets', /permission denied/],
    ['hiding a migration', 'DELETE FROM migrations', /permission denied/],
  ])('refuses %s', async (_what, sql, message) => {
    expect(await refused(sql)).toMatch(message);
  });

  it('refuses a posting between ledger accounts that the kind does not allow', async () => {
    const sql = `INSERT INTO transfers (account_id, seq, id, kind, debit_account, credit_account, amount_micros,
      posted_after_micros, reference, leg, link_id, actor, created_at, hash)
      VALUES ('${accountId}', 99, 'txn_x', 'debit', 'usage_revenue', 'customer_credit', 1, 1, 'x', 0, 'l', 'a', now(), sha256('x'))`;
    expect(await refused(sql)).toMatch(/transfers_posting_rule/);
  });
});
