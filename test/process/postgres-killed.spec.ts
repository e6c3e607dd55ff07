import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { startSandboxBlackForestLabs } from 'coffer-sandbox/black-forest-labs/server';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { startOwnPostgres } from '../support/database/own-postgres.js';
import { expectReceiptsToAgree } from '../support/images/image-call-proof.js';
import { IMAGE_MICROS, IMAGE_MODEL, ImageCallsService } from '../support/images/image-calls.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { eventually, isRunning } from '../support/processes.js';
import { recoverGenerations } from '../support/images/recovery.js';
import { momentBetweenCommits, seededRandom } from '../support/seeded-random.js';
import { newAccount, newApiKey, PLENTY_MICROS } from '../support/process/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  databaseServerIn,
  killDatabaseServer,
  databaseUrlIn,
  removeDataDir,
  ServiceProcess,
  withDatabase,
} from '../support/process/service-process.js';
import { Spending } from '../support/wallet/spending.js';
import { expectLedgerToAgree, expectOnlyFailClosed } from '../support/wallet/spending-proof.js';
import type { TestAnswer } from '../support/app/test-client.js';

const GATEWAYS = 32;
const CHARGE_MICROS = 1_000;
/** Still in the making when the server is killed. */
const SLOWLY = '[sandbox:slow=500]';
const CALLS = 6;
const UPSTREAM_KEY = 'bfl_chaos_upstream_key';

jest.setTimeout(CHAOS_TIMEOUT_MS);
const random = seededRandom('postgres killed');
const cleanUp = new CleanUp();
afterEach(() => cleanUp.run());

async function dataDirectory(): Promise<string> {
  const dir = await createDataDir();
  cleanUp.add(() => removeDataDir(dir));
  return dir;
}

async function startOn(dataDir: string, env: Readonly<Record<string, string>> = {}): Promise<ServiceProcess> {
  const service = await ServiceProcess.start({ dataDir, port: await chooseServicePort(), env });
  cleanUp.add(() => service.kill());
  return service;
}

describe('the database server is killed with -9 under load', () => {
  it('heals without a restart of the service, keeps every acknowledged charge and doubles none', async () => {
    const dataDir = await dataDirectory();
    const service = await startOn(dataDir);
    const accounts = [await newAccount(service, PLENTY_MICROS), await newAccount(service, PLENTY_MICROS)];
    const spending = new Spending({ random, accounts });
    cleanUp.add(() => spending.stop());
    spending.start(service.client(), GATEWAYS);
    for (const killed of ['server', 'connection', 'server', 'connection'] as const) {
      const pid = killed === 'server' ? await databaseServerIn(dataDir) : await busyConnectionIn(dataDir);
      await spending.acknowledgedMore(random.between(30, 300));
      await momentBetweenCommits(random);
      process.kill(pid, 'SIGKILL');
      await eventually(`the ${killed} is gone`, async () => !(await isRunning(pid)));
      await spending.acknowledgedMore(50);
    }
    await spending.stop();
    expect(spending.unanswered).toBe(0);
    expectOnlyFailClosed(spending);
    await spending.sendAgain(service.client());
    expect(service.isRunning).toBe(true);
    await withDatabase(await databaseUrlIn(dataDir), (database) => expectLedgerToAgree(database, spending));
    process.stderr.write(
      `chaos: ${spending.acknowledged} acknowledged, ${spending.refusals.length} refused with 503\n`,
    );
    await expectJobsToRun(service, dataDir);
  });

  /** The server process for one of the service's connections; the server then restarts all of them. */
  async function busyConnectionIn(dataDir: string): Promise<number> {
    const sql = `SELECT pid FROM pg_stat_activity WHERE application_name = 'coffer' AND pid <> pg_backend_pid()
                  ORDER BY state = 'active' DESC, state_change DESC LIMIT 1`;
    return withDatabase(await databaseUrlIn(dataDir), async (database) => {
      const [connection] = await database.query<{ pid: number }[]>(sql);
      if (connection === undefined) throw new Error('the service has no connection');
      return connection.pid;
    });
  }

  /** A payment is credited by a job, and the jobs had connections of their own, which were all cut. */
  async function expectJobsToRun(service: ServiceProcess, dataDir: string): Promise<void> {
    const demo = JSON.parse(await readFile(path.join(dataDir, 'demo.json'), 'utf8')) as { api_key: string };
    const customer = service.client(demo.api_key);
    const { body: topUp } = (await customer.post('/v1/top_ups', { credit_cents: 1_000 })).expect(201);
    await fetch(`${topUp.checkout_url}/pay`, { method: 'POST' });
    await eventually('the payment is credited', async () => {
      const { body } = await customer.get('/v1/wallet');
      return body.posted_micros === '10000000';
    });
  }
});

describe('the database server is away', () => {
  it('refuses all spending with a clear 503, makes no image on credit, and goes on by itself when it is back', async () => {
    const upstream = await startSandboxBlackForestLabs({ apiKey: UPSTREAM_KEY, instant: true });
    cleanUp.add(() => upstream.close());
    const serverDir = await dataDirectory();
    const server = await startOwnPostgres(serverDir);
    cleanUp.add(() => server.stop());
    const dataDir = await dataDirectory();
    const service = await startOn(dataDir, {
      DATABASE_URL: server.url,
      BFL_API_KEY: UPSTREAM_KEY,
      BFL_API_BASE: upstream.baseUrl,
    });
    const account = await newAccount(service, PLENTY_MICROS);
    const apiKey = await newApiKey(service, account, ['generate', 'wallet:write']);
    const spend = (round: string) => spendInEveryWay(service, { account, apiKey, round });
    expect((await spend('first')).map(outcomeOf)).toEqual([201, 201, 'debit', 201, 200]);

    const paying = await newAccount(service, PLENTY_MICROS);
    const calls = new ImageCallsService(
      service.client(await newApiKey(service, paying, ['generate', 'wallet:read'])),
      random,
    );
    const running = Array.from({ length: CALLS }, (_, index) => calls.begin(`${SLOWLY} ${index}`, null));
    const tasks = 1 + calls.calls.reduce((sum, { images }) => sum + images, 0);
    await eventually('the provider works on all images', () => upstream.control.counts().tasks === tasks);

    await killDatabaseServer(serverDir);
    const refused = Array.from({ length: 5 }, () => 'database_unavailable');
    expect((await spend('second')).map(outcomeOf)).toEqual(refused);
    expect((await service.client(null).get('/health/ready')).status).toBe(503);
    expect((await service.client(null).get('/health/live')).status).toBe(200);
    expect(upstream.control.counts().tasks).toBe(tasks);
    // These had their credit set aside before: whether they are charged is not known now, and no one claims to.
    for (const { answer } of await Promise.all(running)) {
      expect(answer?.expect(503).body.error).toMatchObject({
        code: 'database_unavailable',
        outcome: 'pending',
      });
      expect(answer?.body.error).not.toHaveProperty('charged_micros');
      expect(answer?.headers.get('x-should-retry')).toBe('false');
    }

    await server.stop();
    const again = await startOwnPostgres(serverDir);
    cleanUp.add(() => again.stop());
    await eventually('the service is ready', async () => {
      return (await service.client(null).get('/health/ready')).status === 200;
    });
    expect((await spend('second')).map(outcomeOf)).toEqual([201, 201, 'debit', 201, 200]);
    expect((await spend('second')).map(outcomeOf)).toEqual([200, 200, 'debit', 201, 200]);
    expect(upstream.control.counts().tasks).toBe(tasks + 2);
    const wallet = await service.client().get(`/v1/accounts/${account}/wallet`);
    // Two single debits, two in a batch, three images; two holds are open.
    const spentMicros = 4 * CHARGE_MICROS + 3 * IMAGE_MICROS;
    expect(wallet.body).toMatchObject({
      posted_micros: String(PLENTY_MICROS - spentMicros),
      held_micros: String(2 * CHARGE_MICROS),
    });

    await recoverGenerations({
      databaseUrl: again.url,
      dataDir,
      upstream: { apiKey: UPSTREAM_KEY, baseUrl: upstream.baseUrl },
    });
    await expectReceiptsToAgree(calls, PLENTY_MICROS);
    await withDatabase(again.url, expectBooksToBalance);
  });
});

/** The problem's code, or what was done. A batch answers 200 and reports each item. */
function outcomeOf({ status, body }: TestAnswer): unknown {
  const decided = body.object === 'debit_batch' ? body.data[0] : body;
  if (decided.error !== undefined) return decided.error.code;
  return decided === body ? status : decided.object;
}

type Spender = { readonly account: string; readonly apiKey: string; readonly round: string };

async function spendInEveryWay(
  service: ServiceProcess,
  { account, apiKey, round }: Spender,
): Promise<readonly TestAnswer[]> {
  const operator = service.client();
  const customer = service.client(apiKey);
  const charge = { account, reference: round, amount_micros: String(CHARGE_MICROS) };
  return Promise.all([
    operator.post('/v1/debits', charge),
    operator.post('/v1/holds', charge),
    operator.post('/v1/debits/batch', { debits: [{ ...charge, reference: `${round}-batch` }] }),
    customer.post('/v1/top_ups', { credit_cents: 1_000 }),
    customer.post('/v1/images/generations', { model: IMAGE_MODEL, prompt: round, size: '64x64' }),
  ]);
}
