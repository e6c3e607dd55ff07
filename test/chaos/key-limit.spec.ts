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
  ServiceProcess,
  withDatabase,
} from '../support/service-process.js';
import type { TestAnswer, TestClient } from '../support/test-client.js';
import { createTestDatabase, type TestDatabase } from '../support/test-database.js';

const CALLS = 1_000;
const ALLOWED = 60;
/** Of the account's other key, at the same time. */
const OTHER_CALLS = 60;
const IMAGE_MICROS = 40_000;
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
        // The key's limit is to be the only one.
        BFL_ACTIVE_TASKS_MAX: String(CALLS + OTHER_CALLS),
        RATE_LIMIT: 'off',
      },
    });
    cleanUp.add(() => service.kill());
    return service;
  }

  function callAll(apiKey: string, calls: number): Promise<TestAnswer[]> {
    const clients = services.map((service) => service.client(apiKey));
    return Promise.all(
      Array.from({ length: calls }, (_, index) => {
        const prompt = `image ${index % 8}`;
        const call = { model: 'black-forest-labs/flux-2-klein-9b', prompt, size: '64x64' };
        return (clients[index % clients.length] as TestClient).post('/v1/images/generations', call);
      }),
    );
  }

  it(`capture exactly ${ALLOWED} images of ${CALLS} concurrent calls of a key that may spend as much, while another key of its account goes on`, async () => {
    const [first] = services as [ServiceProcess];
    // Ten times what is spent: the wallet refuses nobody.
    const account = await newAccount(first, 10 * (ALLOWED + OTHER_CALLS) * IMAGE_MICROS);
    const limited = await newApiKey(first, account, ['generate']);
    const other = await newApiKey(first, account, ['generate', 'wallet:read', 'keys:write']);
    const keys = (await first.client(other).get('/v1/api_keys')).expect(200).body.data;
    const { id } = keys.find(({ hint }: { hint: string }) => hint.endsWith(limited.slice(-4)));
    const limit = { spend_limits: { total_micros: String(ALLOWED * IMAGE_MICROS) } };
    (await first.client(other).send('PATCH', `/v1/api_keys/${id}`, { body: limit })).expect(200);

    const [answers, others] = await Promise.all([callAll(limited, CALLS), callAll(other, OTHER_CALLS)]);
    expect(countOutcomes(answers)).toEqual({
      '200 charged 40000': ALLOWED,
      '402 key_limit_reached charged 0': CALLS - ALLOWED,
    });
    expect(countOutcomes(others)).toEqual({ '200 charged 40000': OTHER_CALLS });
    expect((await first.client(other).get(`/v1/api_keys/${id}`)).expect(200).body.spend_limits).toMatchObject(
      {
        total_micros: String(ALLOWED * IMAGE_MICROS),
        total_used_micros: String(ALLOWED * IMAGE_MICROS),
      },
    );
    await withDatabase(database.url, async (dataSource) => {
      const captures = `SELECT count(*)::int AS captures, sum(captured_micros)::text AS micros
                          FROM holds WHERE key_id = $1 AND status = 'captured'`;
      expect(await dataSource.query(captures, [id])).toEqual([
        { captures: ALLOWED, micros: String(ALLOWED * IMAGE_MICROS) },
      ]);
      await expectBooksToBalance(dataSource);
    });
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
