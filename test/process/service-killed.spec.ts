import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { HoldSweepJob } from '../../src/money/wallets/hold-sweep.job.js';
import { eventually, isRunning } from '../support/processes.js';
import { withClockAhead } from '../support/images/recovery.js';
import { momentBetweenCommits, seededRandom } from '../support/seeded-random.js';
import { newAccount, PLENTY_MICROS } from '../support/process/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  databaseServerIn,
  databaseUrlIn,
  removeDataDir,
  runProgram,
  ServiceProcess,
  withDatabase,
} from '../support/process/service-process.js';
import { Spending } from '../support/wallet/spending.js';
import {
  countCommittedInSilence,
  expectLedgerToAgree,
  expectOnlyFailClosed,
} from '../support/wallet/spending-proof.js';
import { startTestApp } from '../support/app/test-app.js';

const GATEWAYS = 32;
/** Two lots for each account, and the first is soon used up: many charges take from both. */
const FIRST_LOT_MICROS = 200_000;
const PRICE_MICROS = 1_000;
const AFFORDABLE = 300;
const HOLDS_ARE_OVER_MS = 20 * 60_000;

describe('the service is killed with -9 under load', () => {
  const random = seededRandom('service killed');
  let dataDir: string;
  let port: number;
  let service: ServiceProcess;

  beforeAll(async () => {
    dataDir = await createDataDir();
    port = await chooseServicePort();
    service = await ServiceProcess.start({ dataDir, port });
  });

  afterAll(async () => {
    await service.kill();
    await removeDataDir(dataDir);
  });

  const restart = async (): Promise<void> => {
    service = await ServiceProcess.start({ dataDir, port });
  };

  const wallet = async (account: string): Promise<Record<string, unknown>> =>
    (await service.client().get(`/v1/accounts/${account}/wallet`)).expect(200).body;

  it('keeps every acknowledged charge, doubles none that is sent again, and resolves its holds', async () => {
    const hot = await newAccount(service, FIRST_LOT_MICROS, PLENTY_MICROS);
    const others = [
      await newAccount(service, FIRST_LOT_MICROS, PLENTY_MICROS),
      await newAccount(service, PLENTY_MICROS),
    ];
    const spending = new Spending({ random, accounts: [hot, hot, hot, ...others] });
    for (const killed of ['the service', 'the service and its database server'] as const) {
      const server = await databaseServerIn(dataDir);
      spending.start(service.client(), GATEWAYS);
      await spending.acknowledgedMore(random.between(30, 400));
      await momentBetweenCommits(random);
      if (killed !== 'the service') process.kill(server, 'SIGKILL');
      await service.kill();
      await spending.stop();
      await restart();
      const url = await databaseUrlIn(dataDir);
      await withDatabase(url, async (database) => {
        const silent = await countCommittedInSilence(database, spending);
        await expectLedgerToAgree(database, spending);
        await spending.sendAgain(service.client());
        await expectLedgerToAgree(database, spending);
        process.stderr.write(
          `chaos: ${killed} killed after ${spending.acknowledged} answers; ` +
            `${spending.unanswered} requests unanswered so far, ${silent} of them committed\n`,
        );
      });
    }
    expectOnlyFailClosed(spending);
    await expireOpenHolds();
    for (const account of [hot, ...others]) expect(await wallet(account)).toMatchObject({ held_micros: '0' });
  });

  /** As time would, if the test had a quarter of an hour. */
  async function expireOpenHolds(): Promise<void> {
    const second = await startTestApp({ databaseUrl: await databaseUrlIn(dataDir) });
    try {
      await withClockAhead(second, HOLDS_ARE_OVER_MS, () => second.app.get(HoldSweepJob).run());
    } finally {
      await second.close();
    }
  }

  it('sells exactly what was paid for, although it is killed while the credit runs out', async () => {
    const account = await newAccount(service, AFFORDABLE * PRICE_MICROS);
    const charge = (index: number) => ({
      account,
      reference: `image-${index}`,
      amount_micros: String(PRICE_MICROS),
    });
    const statuses = new Map<number, number>();
    const send = async (index: number): Promise<void> => {
      const answer = await service
        .client()
        .post('/v1/debits', charge(index))
        .catch(() => null);
      if (answer !== null) statuses.set(index, answer.status);
    };
    const indexes = Array.from({ length: 3 * AFFORDABLE }, (_, index) => index);
    const first = Promise.all(indexes.map(send));
    const killAfter = random.between(1, 2 * AFFORDABLE);
    await eventually('some calls are answered', () => statuses.size >= killAfter);
    await service.kill();
    await first;
    await restart();
    await Promise.all(indexes.filter((index) => !statuses.has(index)).map(send));
    const all = indexes.map((index) => statuses.get(index) ?? 0);
    const paid = all.filter((status) => status === 200 || status === 201).length;
    expect({ paid, refused: all.filter((status) => status === 402).length }).toEqual({
      paid: AFFORDABLE,
      refused: 2 * AFFORDABLE,
    });
    expect(await wallet(account)).toMatchObject({
      posted_micros: '0',
      held_micros: '0',
      available_micros: '0',
    });
  });

  it('leaves books that `coffer doctor` finds clean, and nothing running, after an orderly stop', async () => {
    const server = await databaseServerIn(dataDir);
    expect(await service.stop()).toMatchObject({ code: 0 });
    expect(await isRunning(server)).toBe(false);
    const doctor = await runProgram(['cli', 'doctor'], { COFFER_DATA_DIR: dataDir });
    expect(doctor).toMatchObject({ code: 0, output: expect.stringMatching(/^CLEAN/) });
  });
});
