import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { ACCOUNTS, planOperations, shuffled, type Operation } from '../support/chaos/plan.js';
import { openWork, readChaosBooks } from '../support/chaos/books.js';
import { makeCast, type ChaosAccount } from '../support/chaos/cast.js';
import { ChaosClients } from '../support/chaos/clients.js';
import { Killer } from '../support/chaos/killer.js';
import { ChaosJudge } from '../support/chaos/judge.js';
import { ChaosStage, type Victim } from '../support/chaos/stage.js';
import { CleanUp } from '../support/clean-up.js';
import { runCli } from '../support/process/run-cli.js';
import { withDatabase } from '../support/process/service-process.js';
import { eventually } from '../support/processes.js';
import { seededRandom } from '../support/seeded-random.js';
import { independentVerdicts } from '../support/wallet/independent-verifier.js';

/** `CHAOS_OPERATIONS=500` is a quick look. */
const OPERATIONS = Number(process.env['CHAOS_OPERATIONS'] ?? 5_000);
const CLIENTS = 32;
/** Recovery takes a dead process's calls over after a minute, and looks every ten seconds. */
const SETTLED_WITHIN_SECONDS = 180;
/** Each is killed three times alone, and each with the others. */
const KILLS: readonly (readonly Victim[])[] = [
  ...Array.from({ length: 3 }, () => [['first'], ['second'], ['database']] as const).flat(),
  ['first', 'second'],
  ['first', 'database'],
  ['second', 'database'],
  ['first', 'second', 'database'],
];

jest.setTimeout(900_000);

describe('two service processes and their PostgreSQL are killed with -9 again and again', () => {
  const random = seededRandom('everything killed');
  const cleanUp = new CleanUp();
  let stage: ChaosStage;
  let cast: readonly ChaosAccount[];
  let plan: readonly Operation[];
  let clients: ChaosClients;

  beforeAll(async () => {
    stage = await ChaosStage.start(cleanUp);
    cast = await makeCast(stage.service());
    plan = planOperations(random, OPERATIONS);
    clients = new ChaosClients(stage, cast, random);
    cleanUp.add(() => clients.close());
  });

  afterAll(() => cleanUp.run());

  const accounts = (): string[] => cast.map(({ id }) => id);

  it(`loses, doubles and leaves nothing of ${OPERATIONS} operations, each sent two to four times`, async () => {
    const startedAtMs = performance.now();
    const kills = shuffled(random, KILLS);
    const killer = new Killer(stage, kills, random);
    await clients.run(plan, CLIENTS, (begun) => killer.whenBegun(begun / OPERATIONS));
    await killer.finish();
    const sentMs = performance.now() - startedAtMs;
    await clients.settle(plan);
    await withDatabase(stage.databaseUrl, async (database) => {
      await eventually(
        'nothing is left to do',
        async () => isEmpty(await openWork(database, accounts())),
        SETTLED_WITHIN_SECONDS,
      );
      const books = await readChaosBooks(database, accounts());
      const faults = new ChaosJudge(cast, clients.journal, books).judge(plan);
      const sum = (part: 'credited' | 'charged'): string =>
        String(books.wallets.reduce((total, wallet) => total + BigInt(wallet[part]), 0n));
      process.stderr.write(
        `chaos: ${clients.requests} requests, ${killer.killed} kills in ${Math.round(sentMs / 1_000)} s, settled after ` +
          `${Math.round((performance.now() - startedAtMs - sentMs) / 1_000)} s; credited ${sum('credited')}, charged ` +
          `${sum('charged')}; ${JSON.stringify(clients.journal.counts())}\n`,
      );
      expect(faults).toEqual([]);
      expect(books.wallets.length).toBe(ACCOUNTS);
    });
    expect(killer.killed).toBe(kills.length);
  });

  it('leaves usage that is what was charged', async () => {
    await withDatabase(stage.databaseUrl, async (database) => {
      const { wallets } = await readChaosBooks(database, accounts());
      const charged = Object.fromEntries(wallets.map((wallet) => [wallet.account, wallet.charged]));
      const used: Record<string, string> = {};
      for (const { id } of cast) {
        const { body } = (await stage.service().client().get(`/v1/accounts/${id}/usage`)).expect(200);
        used[id] = body.totals.charged_micros;
      }
      expect(used).toEqual(charged);
    });
  });

  it('leaves books that the doctor and both verifiers of exports accept', async () => {
    const doctor = await runCli(['doctor'], { env: { DATABASE_URL: stage.databaseUrl } });
    expect(doctor).toMatchObject({ status: 0, stdout: expect.stringMatching(/^CLEAN/) });
    const dir = await mkdtemp(path.join(tmpdir(), 'coffer chaos '));
    cleanUp.add(() => rm(dir, { recursive: true }));
    for (const format of ['csv', 'jsonl']) {
      const answer = await stage.service(1).client().get(`/v1/exports/ledger?format=${format}`);
      const text = answer.expect(200).body as string;
      const file = path.join(dir, `ledger.${format}`);
      await writeFile(file, text);
      expect(await runCli(['verify', file])).toMatchObject({
        status: 0,
        stdout: expect.stringMatching(/^VERIFIED/),
      });
      expect(await independentVerdicts([Buffer.from(text)])).toMatchObject([{ line: null }]);
    }
  });
});

function isEmpty(work: object): boolean {
  return Object.keys(work).length === 0;
}
