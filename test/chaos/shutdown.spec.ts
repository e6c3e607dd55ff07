import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { startSandboxBlackForestLabs, type SandboxBlackForestLabs } from '../../src/sandbox/black-forest-labs/server.js';
import { findEmbeddedPostgres } from '../../src/database/embedded/embedded-postgres.js';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { eventually } from '../support/processes.js';
import { seededRandom } from '../support/seeded-random.js';
import {
  chooseServicePort,
  createDataDir,
  databaseUrlIn,
  removeDataDir,
  ServiceProcess,
  withDatabase,
} from '../support/service-process.js';
import { Spending } from '../support/spending.js';
import { expectLedgerToAgree } from '../support/spending-proof.js';
import type { TestAnswer } from '../support/test-client.js';

const GATEWAYS = 32;
const PLENTY_MICROS = 100_000_000;
const IMAGE_MICROS = 40_000;
const MODEL = 'black-forest-labs/flux-2-klein-9b';
const UPSTREAM_KEY = 'bfl_chaos_upstream_key';
/** Slow enough that the calls are still running when the service is told to stop. */
const IMAGE_LATENCY_MS = 1_000;
const CALLS = 6;

jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('the service is told to stop (SIGTERM)', () => {
  const random = seededRandom('shutdown');
  const cleanUp = new CleanUp();
  let dataDir: string;
  let upstream: SandboxBlackForestLabs;
  let service: ServiceProcess;
  let account: string;
  let apiKey: string;

  beforeEach(async () => {
    dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    upstream = await startSandboxBlackForestLabs({ apiKey: UPSTREAM_KEY, latencyMs: IMAGE_LATENCY_MS });
    cleanUp.add(() => upstream.close());
    service = await start();
    const operator = service.client();
    account = (await operator.post('/v1/accounts', { name: 'Chaos' })).expect(201).body.id;
    const grant = { amount_micros: String(PLENTY_MICROS), reason: 'to be spent' };
    (await operator.post(`/v1/accounts/${account}/grants`, grant)).expect(201);
    const key = { name: 'chaos', scopes: ['generate', 'wallet:read'] };
    const made = await operator.post(`/v1/accounts/${account}/api_keys`, key);
    apiKey = made.expect(201).body.secret;
  });

  afterEach(() => cleanUp.run());

  async function start(): Promise<ServiceProcess> {
    const env = { BFL_API_KEY: UPSTREAM_KEY, BFL_API_BASE: upstream.baseUrl };
    const started = await ServiceProcess.start({ dataDir, port: await chooseServicePort(), env });
    cleanUp.add(() => started.kill());
    return started;
  }

  const generate = (prompt: string, signal: AbortSignal | null = null): Promise<Response> =>
    fetch(`${service.url}/v1/images/generations`, {
      method: 'POST',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, prompt, size: '64x64' }),
      signal,
    });

  it('finishes and answers all that it accepted, also for a client that went away, and exits with 0', async () => {
    const spending = new Spending({ random, accounts: [account] });
    cleanUp.add(() => spending.stop());
    spending.start(service.client(), GATEWAYS);
    const impatient = new AbortController();
    const abandoned = generate('abandoned', impatient.signal).catch((error: unknown) => error);
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

    service = await start();
    await withDatabase(await databaseUrlIn(dataDir), (database) => expectLedgerToAgree(database, spending));
  });
});
