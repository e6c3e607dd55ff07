import { Writable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { AuditHeadJob } from '../../src/identity/audit-log/audit-head.job.js';
import { JobRegistry } from '../../src/platform/jobs/job-queue.js';
import { WalletStore } from '../../src/money/wallets/store/wallet-store.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { testLogger } from '../support/app/run-log.js';
import { whileHeadIsHeld } from '../support/database/held-audit-head.js';
import { eventually } from '../support/processes.js';

let app: TestApp;
let customer: TestCustomer;
let logged = '';
beforeAll(async () => {
  const stream = new Writable({
    write: (line: Buffer, _encoding, done) => {
      logged += line.toString();
      done();
    },
  });
  app = await startTestApp({ log: testLogger('info', stream) });
  customer = await app.createCustomer({ grantMicros: 1_000_000n });
});
afterEach(() => void jest.restoreAllMocks());
afterAll(async () => {
  try {
    await expectBooksToBalance(app.dataSource);
  } finally {
    await app.close();
  }
});

const grant = (reason: string) =>
  app.operator.post(
    `/v1/accounts/${customer.accountId}/grants`,
    { amount_micros: '1000000', reason },
    { 'idempotency-key': reason },
  );

async function available(): Promise<string> {
  const { body } = (await app.operator.get(`/v1/accounts/${customer.accountId}/wallet`)).expect(200);
  return String(body.available_micros);
}

/** Each try of a batch that finds the end locked takes so much longer. */
function prolongTries(ms: number): { readonly tries: () => number } {
  let tries = 0;
  const now = performance.now.bind(performance);
  jest.spyOn(performance, 'now').mockImplementation(() => now() + tries * ms);
  const store = app.app.get(WalletStore);
  const run = store.run.bind(store);
  jest.spyOn(store, 'run').mockImplementation(async (...batch) => {
    try {
      return await run(...batch);
    } catch (error) {
      tries += 1;
      throw error;
    }
  });
  return { tries: () => tries };
}

describe('an act of the wallet engine that meets a held end of the audit log', () => {
  it('is tried for ten seconds and then refused with 503, as are the acts that wait after it; nothing was changed', async () => {
    const before = await available();
    await whileHeadIsHeld(app.databaseUrl, async () => {
      const { tries } = prolongTries(5_000);
      const answers = [grant('held')];
      await eventually('the first one is tried', () => tries() > 0);
      answers.push(grant('after'));
      let refused = 0;
      for (const answer of answers) void answer.then(() => (refused += 1));
      await eventually('both are answered', () => refused === 2, 60);
      // After five seconds it was still tried.
      expect(tries()).toBeGreaterThanOrEqual(2);
      for (const answer of answers) {
        expect((await answer).expect(503).body.error).toMatchObject({ code: 'database_unavailable' });
      }
      expect((await answers[0])?.body.error).toMatchObject({
        message: expect.stringContaining('Nothing was changed'),
      });
    });
    expect(await available()).toBe(before);
    (await grant('held')).expect(201);
    expect(BigInt(await available())).toBe(BigInt(before) + 1_000_000n);
  });
});

describe('the end of the audit log', () => {
  const headLines = (): readonly string[] =>
    logged
      .split('\n')
      .filter((line) => line.includes('The audit log is sealed up to'))
      .map((line) => String((JSON.parse(line) as { msg: string }).msg));

  async function currentHead(): Promise<string> {
    const [{ seq, hash }] = await app.dataSource.query<[{ seq: string; hash: string }]>(
      `SELECT seq, encode(hash, 'hex') AS hash FROM audit_head`,
    );
    return `The audit log is sealed up to ${seq}: ${hash}`;
  }

  it('is written to the log of the service by a job of every minute, once for each that it finds', async () => {
    const job = app.app.get(AuditHeadJob);
    expect(app.app.get(JobRegistry).all()).toContain(job);
    expect(job.crontab).toBe('* * * * *');
    (await grant('logged')).expect(201);
    const first = await currentHead();
    await job.run();
    await job.run();
    expect(headLines()).toEqual([first]);
    (await grant('logged-next')).expect(201);
    const second = await currentHead();
    expect(second).not.toBe(first);
    await job.run();
    expect(headLines()).toEqual([first, second]);
  });
});
