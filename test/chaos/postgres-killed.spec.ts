import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/database/embedded/embedded-postgres.js';
import { startSandboxBlackForestLabs } from '../../src/sandbox/black-forest-labs/server.js';
import { eventually, isRunning } from '../support/processes.js';
import { seededRandom } from '../support/seeded-random.js';
import {
  chooseServicePort,
  createDataDir,
  databaseServerIn,
  databaseUrlIn,
  removeDataDir,
  ServiceProcess,
  withDatabase,
} from '../support/service-process.js';
import { Spending } from '../support/spending.js';
import { expectLedgerToAgree, expectOnlyFailClosed } from '../support/spending-proof.js';
import type { TestAnswer } from '../support/test-client.js';

const GATEWAYS = 32;
const PLENTY_MICROS = 100_000_000;
const MODEL = 'black-forest-labs/flux-2-klein-9b';
const UPSTREAM_KEY = 'bfl_chaos_upstream_key';

const ended: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (let end = ended.pop(); end !== undefined; end = ended.pop()) await end();
});

async function dataDirectory(): Promise<string> {
  const dir = await createDataDir();
  ended.push(() => removeDataDir(dir));
  return dir;
}

async function startOn(dataDir: string, env: Readonly<Record<string, string>> = {}): Promise<ServiceProcess> {
  const service = await ServiceProcess.start({ dataDir, port: await chooseServicePort(), env });
  ended.push(() => service.kill());
  return service;
}

async function accountOf(service: ServiceProcess): Promise<string> {
  const { body } = (await service.client().post('/v1/accounts', { name: 'Chaos' })).expect(201);
  const grant = { amount_micros: String(PLENTY_MICROS), reason: 'to be spent' };
  (await service.client().post(`/v1/accounts/${body.id}/grants`, grant)).expect(201);
  return body.id;
}

describe('the database server is killed with -9 under load', () => {
  it('heals without a restart of the service, keeps every acknowledged charge and doubles none', async () => {
    const random = seededRandom('postgres killed');
    const dataDir = await dataDirectory();
    const service = await startOn(dataDir);
    const spending = new Spending({ random, accounts: [await accountOf(service), await accountOf(service)] });
    process.stderr.write(`started ${performance.now()}\n`);
    spending.start(service.client(), GATEWAYS);
    for (const killed of ['server', 'connection', 'server', 'connection'] as const) {
      await spending.acknowledgedMore(random.between(30, 300));
      await sleep(random.between(0, 20));
      const pid = killed === 'server' ? await databaseServerIn(dataDir) : await busyConnectionIn(dataDir);
      process.kill(pid, 'SIGKILL');
      await eventually(`the ${killed} is gone`, async () => !(await isRunning(pid)));
      const t1 = performance.now();
      await spending.acknowledgedMore(50);
      process.stderr.write(`healed from ${killed} in ${performance.now() - t1}\n`);
    }
    await spending.stop();
    process.stderr.write(`stopped ${performance.now()}\n`);
    expect(spending.unanswered).toBe(0);
    expectOnlyFailClosed(spending);
    await spending.sendAgain(service.client());
    expect(service.isRunning).toBe(true);
    await withDatabase(await databaseUrlIn(dataDir), (database) => expectLedgerToAgree(database, spending));
    process.stderr.write(
      `chaos: ${spending.acknowledged} acknowledged, ${spending.refusals.length} refused with 503\n`,
    );
    process.stderr.write(`proved ${performance.now()}\n`);
    await expectJobsToRun(service, dataDir);
    process.stderr.write(`jobs ${performance.now()}\n`);
  });

  /** The server process behind one of the service's connections; the server then restarts all of them. */
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
  let server: EmbeddedPostgres | null = null;
  afterAll(() => server?.stop());

  it('refuses all spending with a clear 503, makes no image on credit, and goes on by itself when it is back', async () => {
    const upstream = await startSandboxBlackForestLabs({ apiKey: UPSTREAM_KEY, instant: true });
    ended.push(() => upstream.close());
    const serverDir = await dataDirectory();
    server = await startServer(serverDir);
    const service = await startOn(await dataDirectory(), {
      DATABASE_URL: server.url,
      BFL_API_KEY: UPSTREAM_KEY,
      BFL_API_BASE: upstream.baseUrl,
    });
    const account = await accountOf(service);
    const { body: key } = (
      await service
        .client()
        .post(`/v1/accounts/${account}/api_keys`, { name: 'chaos', scopes: ['generate', 'wallet:write'] })
    ).expect(201);
    const spend = (round: string) => spendInEveryWay(service, { account, apiKey: key.secret, round });
    expect((await spend('before')).map(({ status }) => status)).toEqual([201, 201, 200, 201, 200]);

    process.kill(await databaseServerIn(serverDir), 'SIGKILL');
    const away = await spend('away');
    expect(away.map(({ status }) => status)).toEqual([503, 503, 200, 503, 503]);
  });
});

/** It stays dead when it is killed: the test decides when it is back. */
function startServer(dataDir: string): Promise<EmbeddedPostgres> {
  return startEmbeddedPostgres({ dataDir, log: () => undefined, restartDelaysMillis: [] });
}

type Spender = { readonly account: string; readonly apiKey: string; readonly round: string };

async function spendInEveryWay(
  service: ServiceProcess,
  { account, apiKey, round }: Spender,
): Promise<readonly TestAnswer[]> {
  const operator = service.client();
  const customer = service.client(apiKey);
  const charge = { account, reference: round, amount_micros: '1000' };
  return Promise.all([
    operator.post('/v1/debits', charge),
    operator.post('/v1/holds', charge),
    operator.post('/v1/debits/batch', { debits: [{ ...charge, reference: `${round}-batch` }] }),
    customer.post('/v1/top_ups', { credit_cents: 1_000 }),
    customer.post('/v1/images/generations', { model: MODEL, prompt: round, size: '64x64' }),
  ]);
}
