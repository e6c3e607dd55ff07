import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { micros } from '../../src/platform/common/money.js';
import {
  addCredit,
  answerOf,
  createAccount,
  startEngine,
  type EngineProcess,
} from '../support/database/engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const IMAGE = 40_000;

/** A batch updates wallets and lots where its lock has found them. */
describe('the places of a batch’s rows', () => {
  let database: TestDatabase;
  let process: EngineProcess;
  let other: pg.Client;

  beforeAll(async () => {
    database = await createTestDatabase();
    process = await startEngine(database.url);
    other = new pg.Client({ connectionString: database.url });
    await other.connect();
  });

  afterAll(async () => {
    await other.end();
    await process.dataSource.destroy();
    await database.drop();
  });

  const debit = (accountId: string, reference: string) =>
    process.engine.execute({
      type: 'debit',
      keyId: null,
      accountId,
      actor: 'test',
      reference: `debit:${reference}`,
      fingerprint: '',
      memo: null,
      amountMicros: micros(BigInt(IMAGE)),
    });

  const placeOf = async (accountId: string): Promise<unknown> =>
    (await other.query<{ ctid: string }>('SELECT ctid FROM wallets WHERE account_id = $1', [accountId]))
      .rows[0]?.ctid;

  async function untilLockIsWaitedFor(): Promise<void> {
    for (;;) {
      const { rowCount } = await other.query(
        `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      if (rowCount !== null && rowCount > 0) return;
    }
  }

  it.each([1, 2])(
    'are those of the newest versions, when another tx moves the rows while a batch of %i waits for them',
    async (accounts) => {
      const ids = await Promise.all(
        Array.from({ length: accounts }, async () => {
          const id = await createAccount(process.dataSource);
          await addCredit(process.engine, id, 10 * IMAGE);
          return id;
        }),
      );
      const before = await Promise.all(ids.map(placeOf));
      await other.query('BEGIN');
      // More versions than a page holds: the last one is on another page.
      for (let version = 0; version < 100; version += 1) {
        await other.query('UPDATE wallets SET level = level WHERE account_id = ANY($1)', [ids]);
        await other.query('UPDATE credit_lots SET priority = priority WHERE account_id = ANY($1)', [ids]);
      }
      const waiting = ids.map((id) => answerOf(debit(id, 'waits')));
      await untilLockIsWaitedFor();
      await other.query('COMMIT');
      expect(await Promise.all(waiting)).toEqual(ids.map(() => 'ok'));
      expect(await Promise.all(ids.map(placeOf))).not.toEqual(before);
      const { rows } = await other.query(
        `SELECT w.posted_micros, w.seq, l.remaining_micros
           FROM wallets w JOIN credit_lots l USING (account_id) WHERE w.account_id = ANY($1)`,
        [ids],
      );
      const left = `${9 * IMAGE}`;
      expect(rows).toEqual(ids.map(() => ({ posted_micros: left, seq: '2', remaining_micros: left })));
      await expectBooksToBalance(process.dataSource);
    },
  );

  it('stay true through vacuum and pruning between batches', async () => {
    const id = await createAccount(process.dataSource);
    await addCredit(process.engine, id, 300 * IMAGE);
    for (let round = 0; round < 3; round += 1) {
      for (let index = 0; index < 50; index += 1) {
        expect(await answerOf(debit(id, `${round}-${index}`))).toBe('ok');
      }
      await other.query('VACUUM wallets, credit_lots');
    }
    await other.query('VACUUM FULL wallets, credit_lots');
    expect(await answerOf(debit(id, 'last'))).toBe('ok');
    await expectBooksToBalance(process.dataSource);
  });
});
