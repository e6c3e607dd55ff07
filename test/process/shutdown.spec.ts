import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import {
  startSandboxBlackForestLabs,
  type SandboxBlackForestLabs,
} from 'coffer-sandbox/black-forest-labs/server';
import {
  findEmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../src/bootstrap/embedded-postgres/embedded-postgres.js';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { eventually } from '../support/processes.js';
import { seededRandom } from '../support/seeded-random.js';
import { newAccount, newApiKey, PLENTY_MICROS } from '../support/process/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  ServiceProcess,
  withDatabase,
} from '../support/process/service-process.js';
import { Spending } from '../support/wallet/spending.js';
import { countCommittedInSilence, expectLedgerToAgree } from '../support/wallet/spending-proof.js';

const GATEWAYS = 32;
const IMAGE_MICROS = 40_000;
const MODEL = 'black-forest-labs/flux-2-klein-9b';
const UPSTREAM_KEY = 'bfl_chaos_upstream_key';
/** Slow enough that the calls are still running when the service is asked to stop. */
const IMAGE_LATENCY_MS = 1_000;
const SLOWER = `[sandbox:slow=${2 * IMAGE_LATENCY_MS}]`;
const CALLS = 6;

jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('a service on its data directory', () => {
  const random = seededRandom('shutdown');
  const cleanUp = new CleanUp();
  let dataDir: string;
  let upstream: SandboxBlackForestLabs;
  let service: ServiceProcess;
  let apiKey: string;

  beforeAll(async () => {
    dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    upstream = await startSandboxBlackForestLabs({ apiKey: UPSTREAM_KEY, latencyMs: IMAGE_LATENCY_MS });
    cleanUp.add(() => upstream.close());
    const env = { BFL_API_KEY: UPSTREAM_KEY, BFL_API_BASE: upstream.baseUrl };
    service = await ServiceProcess.start({ dataDir, port: await chooseServicePort(), env });
    cleanUp.add(() => service.kill());
    apiKey = await newApiKey(service, await newAccount(service, PLENTY_MICROS), ['generate']);
  });

  afterAll(() => cleanUp.run());

  const generate = (prompt: string, signal: AbortSignal | null = null): Promise<Response> =>
    fetch(`${service.url}/v1/images/generations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, prompt, size: '64x64' }),
      signal,
    });

  it('keeps a second service off its data directory while it runs, and says what to do', async () => {
    const second = ServiceProcess.spawn({ dataDir, port: await chooseServicePort() });
    cleanUp.add(() => second.kill());
    const { code, output } = await second.ended;
    expect(code).toBe(1);
    expect(output).toContain(`The data directory ${dataDir} is in use by process ${service.pid}.`);
    expect(output).toContain('DATABASE_URL');
    // Its reader needs a sentence, not a stack trace.
    expect(output).not.toMatch(/^ {4}at /m);
    (await service.client().get('/v1/accounts')).expect(200);
  });

  it('asked to stop (SIGTERM), finishes and answers all that it accepted, also for a client that went away, and exits with 0', async () => {
    const spending = new Spending({ random, accounts: [await newAccount(service, PLENTY_MICROS)] });
    cleanUp.add(() => spending.stop());
    spending.start(service.client(), GATEWAYS);
    const impatient = new AbortController();
    // It outlives every open connection, so that only the service itself knows that it is still running.
    const abandoned = generate(`abandoned ${SLOWER}`, impatient.signal).catch((error: unknown) => error);
    const calls = Array.from({ length: CALLS }, (_, index) => generate(`call ${index}`));
    await eventually('the provider works on all images', () => upstream.control.counts().tasks === CALLS + 1);
    impatient.abort();
    expect(await abandoned).toMatchObject({ name: 'AbortError' });
    await spending.acknowledgedMore(random.between(1, 200));

    const end = service.stop();
    const answers = await Promise.all(calls);
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(answers.map(({ headers }) => headers.get('x-charged-micros'))).toEqual(
      answers.map(() => String(IMAGE_MICROS)),
    );
    expect(await end).toMatchObject({ code: 0 });
    await spending.stop();
    expect(spending.refusals).toEqual([]);
    expect(await findEmbeddedPostgres(dataDir)).toBeUndefined();

    const server = await startEmbeddedPostgres({ dataDir, log: () => undefined });
    cleanUp.add(() => server.stop());
    await withDatabase(server.url, async (database) => {
      await expectLedgerToAgree(database, spending);
      // A connection may be closed before its next request is read, but what was decided was also answered.
      expect(await countCommittedInSilence(database, spending)).toBe(0);
      const generations = `SELECT status, charged_micros AS micros, count(*)::int AS count FROM generations GROUP BY 1, 2`;
      expect(await database.query(generations)).toEqual([
        { status: 'succeeded', micros: String(IMAGE_MICROS), count: CALLS + 1 },
      ]);
      const open = `SELECT count(*)::int AS count FROM holds WHERE status = 'authorized' AND reference LIKE 'generation:%'`;
      expect(await database.query(open)).toEqual([{ count: 0 }]);
    });
  });
});
