import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import type { WalletCommand } from '../../src/money/wallets/rules/command.js';
import { WalletThresholdsService } from '../../src/money/wallets/wallet-thresholds.service.js';
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

type SignalJob = { readonly task: string; readonly payload: Record<string, unknown> };

describe('what a wallet signals', () => {
  let database: TestDatabase;
  let first: EngineProcess;
  let second: EngineProcess;
  let marks: WalletThresholdsService;
  let accountId: string;

  beforeAll(async () => {
    database = await createTestDatabase();
    first = await startEngine(database.url);
    second = await startEngine(database.url);
    marks = new WalletThresholdsService(first.dataSource);
  });
  beforeEach(async () => {
    accountId = await createAccount(first.dataSource);
  });
  afterEach(() => expectBooksToBalance(first.dataSource));
  afterAll(async () => {
    await first.dataSource.destroy();
    await second.dataSource.destroy();
    await database.drop();
  });

  const debit = (reference: string = newId('request'), amount = IMAGE): WalletCommand => ({
    type: 'debit',
    keyId: null,
    accountId,
    actor: 'test',
    reference: `debit:${reference}`,
    fingerprint: `${amount}`,
    memo: null,
    amountMicros: micros(BigInt(amount)),
  });

  const setStatus = (type: 'freeze' | 'unfreeze', reason: string): WalletCommand => {
    const change = { statusChangeId: newId('request'), reason };
    const addressed = { accountId, actor: 'test' };
    return type === 'freeze'
      ? { type, ...addressed, freeze: { ...change, id: newId('freeze'), source: 'operator', sourceId: '' } }
      : { type, ...addressed, ...change, lifts: {} };
  };

  /** The jobs that wait for the account, as a worker would find them. */
  async function queued(): Promise<SignalJob[]> {
    return first.dataSource.query<SignalJob[]>(
      `SELECT t.identifier AS task, j.payload FROM graphile_worker._private_jobs j
         JOIN graphile_worker._private_tasks t ON t.id = j.task_id
        WHERE j.payload->>'account_id' = $1 ORDER BY j.id`,
      [accountId],
    );
  }

  /** Calls at once through two processes; how many were answered in which way. */
  async function spendTogether(calls: number): Promise<Record<string, number>> {
    const answers = await Promise.all(
      Array.from({ length: calls }, (_, index) =>
        answerOf((index % 2 === 0 ? first : second).engine.execute(debit())),
      ),
    );
    const counts: Record<string, number> = {};
    for (const answer of answers) counts[answer] = (counts[answer] ?? 0) + 1;
    return counts;
  }

  it('is queued once per level, however many calls of however many processes cross it', async () => {
    await addCredit(first.engine, accountId, 50 * IMAGE);
    await marks.setLowThreshold(null, accountId, micros(BigInt(20 * IMAGE)));
    expect(await spendTogether(80)).toEqual({ ok: 50, insufficient_credits: 30 });
    expect(await spendTogether(20)).toEqual({ insufficient_credits: 20 });
    const alerts = (await queued()).map(({ payload }) => payload['alert']);
    // One batch may spend all of it: then there was no moment at which it was merely low.
    expect(alerts.filter((alert) => alert === 'depleted')).toHaveLength(1);
    expect(alerts.filter((alert) => alert === 'low').length).toBeLessThanOrEqual(1);
    expect(alerts.at(-1)).toBe('depleted');
  });

  it('carries the balances of the tx that crossed the mark', async () => {
    await addCredit(first.engine, accountId, 3 * IMAGE);
    await marks.setLowThreshold(null, accountId, micros(BigInt(3 * IMAGE)));
    await first.engine.execute(debit());
    expect(await queued()).toMatchObject([
      {
        task: 'wallet_alert',
        payload: { alert: 'low', seq: 2, posted_micros: '80000', available_micros: '80000', reason: null },
      },
    ]);
  });

  it('asks for one auto top-up at a time', async () => {
    await addCredit(first.engine, accountId, 50 * IMAGE);
    await marks.setTopUpThreshold(null, accountId, micros(BigInt(20 * IMAGE)));
    await spendTogether(40);
    await addCredit(second.engine, accountId, IMAGE);
    expect(await queued()).toEqual([{ task: 'auto_top_up', payload: { account_id: accountId } }]);
  });

  it('says why a wallet was frozen, each time that it is', async () => {
    await addCredit(first.engine, accountId, IMAGE);
    await first.engine.execute(setStatus('freeze', 'a stolen card'));
    await first.engine.execute(setStatus('freeze', 'again'));
    await first.engine.execute(setStatus('unfreeze', 'all is well'));
    await first.engine.execute(setStatus('freeze', 'another one'));
    const frozen = (await queued()).map(({ payload }) => payload);
    expect(frozen.map(({ alert, reason }) => [alert, reason])).toEqual([
      ['frozen', 'a stolen card'],
      ['frozen', 'another one'],
    ]);
    expect(new Set(frozen.map(({ key }) => key)).size).toBe(2);
  });

  it('is not queued when the commit that it belongs to fails', async () => {
    await addCredit(first.engine, accountId, IMAGE);
    const owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    await owner.query(`
      CREATE FUNCTION refuse_commit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'refused at the commit'; END $$`);
    // Deferred: everything of the packet has been run, the new job included, when this strikes.
    await owner.query(`
      CREATE CONSTRAINT TRIGGER refuse_commit AFTER INSERT ON transfers DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION refuse_commit()`);
    try {
      await expect(first.engine.execute(debit())).rejects.toThrow('refused at the commit');
    } finally {
      await owner.query('DROP TRIGGER refuse_commit ON transfers');
      await owner.destroy();
    }
    expect(await queued()).toEqual([]);
    await first.engine.execute(debit());
    expect(await queued()).toHaveLength(1);
  });

  it('of a mark set before the first credit is kept', async () => {
    await marks.setTopUpThreshold(null, accountId, micros(1n));
    await addCredit(first.engine, accountId, IMAGE);
    await first.engine.execute(debit());
    expect((await queued()).map(({ task }) => task).sort()).toEqual(['auto_top_up', 'wallet_alert']);
  });

  it('survives marks that are set while the wallet is spent', async () => {
    await addCredit(first.engine, accountId, 40 * IMAGE);
    const [spent] = await Promise.all([
      spendTogether(40),
      ...Array.from({ length: 20 }, (_, index) =>
        marks.setTopUpThreshold(null, accountId, micros(BigInt(index + 1))),
      ),
    ]);
    expect(spent).toEqual({ ok: 40 });
    await marks.setTopUpThreshold(null, accountId, null);
    const rows = await first.dataSource.query<unknown[]>(
      'SELECT top_up_mark_micros, level FROM wallets WHERE account_id = $1',
      [accountId],
    );
    expect(rows).toEqual([{ top_up_mark_micros: null, level: 'depleted' }]);
  });
});
