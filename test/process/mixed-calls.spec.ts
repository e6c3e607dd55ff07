import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { randomBytes } from 'node:crypto';
import { startSandboxBlackForestLabs } from 'coffer-sandbox/black-forest-labs/server';
import { CleanUp } from '../support/clean-up.js';
import { runMixedCalls } from '../support/mixed-calls/run.js';
import type { MixedStage } from '../support/mixed-calls/stage.js';
import { seededRandom } from '../support/seeded-random.js';
import {
  chooseServicePort,
  createDataDir,
  OPERATOR_KEY,
  removeDataDir,
  ServiceProcess,
} from '../support/process/service-process.js';
import { createTestDatabase } from '../support/database/test-database.js';

const UPSTREAM_KEY = 'bfl_mixed_calls_upstream_key';
const REQUESTS = 600;

jest.setTimeout(120_000);

describe('random mixed calls over two service processes', () => {
  const cleanUp = new CleanUp();
  let stage: MixedStage;

  beforeAll(async () => {
    stage = await setUp(cleanUp);
  });

  afterAll(() => cleanUp.run());

  it('deliver what is captured, leave no row of money for BYOK and no open hold, and never pass a limit', async () => {
    const random = seededRandom('mixed calls');
    const report = await runMixedCalls(stage, {
      random,
      requests: REQUESTS,
      ofEachKind: 1,
      slowFaults: false,
      clients: 48,
      settledWithinMs: 20_000,
      urlsOneIn: 1,
      say: () => undefined,
    });
    process.stderr.write(`mixed calls: ${JSON.stringify(report.outcomes)}\n`);
    expect(report.faults).toEqual([]);
  });
});

/** Images are repeated by whichever process is asked, so both keep them in one place. */
async function setUp(cleanUp: CleanUp): Promise<MixedStage> {
  const database = await createTestDatabase();
  cleanUp.add(() => database.drop());
  const upstream = await startSandboxBlackForestLabs({ instant: true, activeTasksMax: null });
  cleanUp.add(() => upstream.close());
  const dataDir = await createDataDir();
  cleanUp.add(() => removeDataDir(dataDir));
  const ports = [await chooseServicePort(), await chooseServicePort()] as const;
  const env = {
    DATABASE_URL: database.serviceUrl,
    BFL_API_KEY: UPSTREAM_KEY,
    BFL_API_BASE: upstream.baseUrl,
    BFL_ACTIVE_TASKS_MAX: '1000',
    COFFER_MASTER_KEYS: `mixed:${randomBytes(32).toString('base64')}`,
    FREE_IMAGES_PER_DAY: '10',
    PUBLIC_URL: `http://127.0.0.1:${ports[0]}`,
  };
  const start = async (port: number): Promise<string> => {
    const service = await ServiceProcess.start({ dataDir, port, env });
    cleanUp.add(() => service.kill());
    return service.url;
  };
  const serviceUrls = [await start(ports[0]), await start(ports[1])] as const;
  return {
    serviceUrls,
    operatorKey: OPERATOR_KEY,
    databaseUrl: database.url,
    dataDir,
    upstreamUrl: upstream.baseUrl,
    upstreamKey: UPSTREAM_KEY,
  };
}
