import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import { JobRegistry } from '../../src/platform/jobs/job-queue.js';
import { HoldSweepJob } from '../../src/money/wallets/hold-sweep.job.js';
import { LotExpiryJob } from '../../src/money/wallets/lot-expiry.job.js';
import {
  addCredit,
  createAccount,
  databaseClock,
  startEngine,
  type EngineProcess,
} from '../support/database/engine.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const START_MS = Date.parse('2026-03-01T00:00:00Z');

describe('the jobs that tidy wallets', () => {
  let database: TestDatabase;
  let process: EngineProcess;
  let nowMs = START_MS;
  const clock = { nowMs: () => nowMs };

  beforeAll(async () => {
    database = await createTestDatabase();
    process = await startEngine(database.url, clock);
  });

  afterEach(() => expectBooksToBalance(process.dataSource));

  afterAll(async () => {
    await process.dataSource.destroy();
    await database.drop();
  });

  const time = () => databaseClock(process.dataSource, clock);
  const sweep = () => new HoldSweepJob(new JobRegistry(), process.dataSource, process.engine, time()).run();
  const expire = () => new LotExpiryJob(new JobRegistry(), process.dataSource, process.engine, time()).run();

  async function authorize(accountId: string, reference: string, seconds: number): Promise<string> {
    const holdId = newId('hold');
    await process.engine.execute({
      type: 'authorize',
      keyId: null,
      accountId,
      actor: 'test',
      reference,
      fingerprint: '',
      memo: null,
      holdId,
      amountMicros: micros(40_000n),
      expiresAtMs: nowMs + seconds * 1_000,
    });
    return holdId;
  }

  async function statusOf(holdId: string): Promise<string | undefined> {
    const rows = await process.dataSource.query<{ status: string }[]>(
      'SELECT status FROM holds WHERE id = $1',
      [holdId],
    );
    return rows[0]?.status;
  }

  it('releases a hold whose time is over, keeps one whose time is not, and leaves image calls to their own recovery', async () => {
    const accountId = await createAccount(process.dataSource);
    await addCredit(process.engine, accountId, 400_000);
    const due = await authorize(accountId, 'hold:due', 30);
    const running = await authorize(accountId, 'hold:running', 600);
    const ownCall = await authorize(accountId, 'generation:gen_1', 30);
    nowMs += 31_000;
    await sweep();
    expect([await statusOf(due), await statusOf(running), await statusOf(ownCall)]).toEqual([
      'expired',
      'authorized',
      'authorized',
    ]);
  });

  it('releases more holds than fit one page', async () => {
    const accountId = await createAccount(process.dataSource);
    await addCredit(process.engine, accountId, 1_200 * 40_000);
    await Promise.all(
      Array.from({ length: 1_200 }, (_, index) => authorize(accountId, `hold:many-${index}`, 30)),
    );
    nowMs += 31_000;
    await sweep();
    const rows = await process.dataSource.query<{ held_micros: string }[]>(
      'SELECT held_micros FROM wallets WHERE account_id = $1',
      [accountId],
    );
    expect(rows[0]?.held_micros).toBe('0');
  });

  it('posts the expiry of promotional credit, but never of the part that a running call has reserved', async () => {
    const accountId = await createAccount(process.dataSource);
    await process.engine.execute({
      type: 'grant',
      accountId,
      actor: 'test',
      reference: 'grant:launch',
      fingerprint: '',
      memo: 'Launch credit',
      lotId: newId('creditLot'),
      amountMicros: micros(100_000n),
      priority: 0,
      expiresAtMs: nowMs + 60_000,
    });
    const holdId = await authorize(accountId, 'hold:reserved', 600);
    const posted = async () => {
      const rows = await process.dataSource.query<{ posted_micros: string }[]>(
        'SELECT posted_micros FROM wallets WHERE account_id = $1',
        [accountId],
      );
      return rows[0]?.posted_micros;
    };
    nowMs += 61_000;
    await expire();
    expect(await posted()).toBe('40000');
    await process.engine.execute({ type: 'void', accountId, actor: 'test', holdId });
    await expire();
    expect(await posted()).toBe('0');
  });
});
