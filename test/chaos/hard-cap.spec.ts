import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import {
  type SandboxBlackForestLabs,
  startSandboxBlackForestLabs,
} from '../../src/sandbox/black-forest-labs/server.js';
import { CHAOS_TIMEOUT_MS, CleanUp } from '../support/clean-up.js';
import { expectBooksToBalance } from '../support/invariants.js';
import { newAccount, newApiKey } from '../support/service-customers.js';
import {
  chooseServicePort,
  createDataDir,
  removeDataDir,
  runProgram,
  ServiceProcess,
  withDatabase,
} from '../support/service-process.js';
import type { TestAnswer, TestClient } from '../support/test-client.js';
import { createTestDatabase, type TestDatabase } from '../support/test-database.js';

/** A tenth of what `npm run bench` races. */
const CALLS = 1_000;
const AFFORDABLE = 100;
const IMAGE_MICROS = 40_000;
const MODEL = 'black-forest-labs/flux-2-klein-9b';
const UPSTREAM_KEY = 'bfl_chaos_upstream_key';

jest.setTimeout(CHAOS_TIMEOUT_MS);

describe('two service processes on one database', () => {
  const cleanUp = new CleanUp();
  let database: TestDatabase;
  let upstream: SandboxBlackForestLabs;
  let services: readonly ServiceProcess[];

  beforeAll(async () => {
    database = await createTestDatabase();
    cleanUp.add(() => database.drop());
    upstream = await startSandboxBlackForestLabs({
      apiKey: UPSTREAM_KEY,
      instant: true,
      activeTasksMax: null,
    });
    cleanUp.add(() => upstream.close());
    services = await Promise.all([startService(), startService()]);
  });

  afterAll(() => cleanUp.run());

  async function startService(): Promise<ServiceProcess> {
    const dataDir = await createDataDir();
    cleanUp.add(() => removeDataDir(dataDir));
    const service = await ServiceProcess.start({
      dataDir,
      port: await chooseServicePort(),
      env: {
        DATABASE_URL: database.url,
        BFL_API_KEY: UPSTREAM_KEY,
        BFL_API_BASE: upstream.baseUrl,
        // The credit is to be the only limit.
        BFL_ACTIVE_TASKS_MAX: String(CALLS),
      },
    });
    cleanUp.add(() => service.kill());
    return service;
  }

  it(`deliver exactly ${AFFORDABLE} images of ${CALLS} concurrent calls when that is what was paid for`, async () => {
    const [first] = services as [ServiceProcess];
    const account = await newAccount(first, AFFORDABLE * IMAGE_MICROS);
    const apiKey = await newApiKey(first, account, ['generate', 'wallet:read']);
    const clients = services.map((service) => service.client(apiKey));

    const answers = await Promise.all(
      Array.from({ length: CALLS }, (_, index) => {
        const call = { model: MODEL, prompt: `image ${index % 8}`, size: '64x64' };
        return (clients[index % clients.length] as TestClient).post('/v1/images/generations', call);
      }),
    );
    expect(countOutcomes(answers)).toEqual({
      '200 charged 40000': AFFORDABLE,
      '402 insufficient_credits charged 0': CALLS - AFFORDABLE,
    });
    // Each image is there, and each is another one.
    const urls = answers.filter(({ status }) => status === 200).map(({ body }) => String(body.data[0].url));
    expect(new Set(urls).size).toBe(AFFORDABLE);
    const images = await Promise.all(urls.map((url) => fetch(url)));
    expect(images.filter(({ ok }) => ok)).toHaveLength(AFFORDABLE);

    const wallet = (await first.client(apiKey).get('/v1/wallet')).expect(200).body;
    expect(wallet).toMatchObject({ available_micros: '0', held_micros: '0', posted_micros: '0' });
    expect(upstream.control.counts().tasks).toBe(AFFORDABLE);
    await withDatabase(database.url, async (dataSource) => {
      const captures = `SELECT count(*)::int AS captures, count(DISTINCT reference)::int AS holds,
                               sum(amount_micros)::text AS micros FROM transfers WHERE kind = 'capture'`;
      expect(await dataSource.query(captures)).toEqual([
        { captures: AFFORDABLE, holds: AFFORDABLE, micros: String(AFFORDABLE * IMAGE_MICROS) },
      ]);
      await expectBooksToBalance(dataSource);
    });
    const doctor = await runProgram(['cli.ts', 'doctor'], { DATABASE_URL: database.url });
    expect(doctor).toMatchObject({ code: 0, output: expect.stringMatching(/^CLEAN/) });
  });
});

function countOutcomes(answers: readonly TestAnswer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, headers, body } of answers) {
    const code = body.error === undefined ? '' : ` ${body.error.code}`;
    const outcome = `${status}${code} charged ${headers.get('x-charged-micros')}`;
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}
