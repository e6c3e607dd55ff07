import {
  type SandboxBlackForestLabs,
  startSandboxBlackForestLabs,
} from 'coffer-sandbox/black-forest-labs/server';
import type { CleanUp } from '../clean-up.js';
import { chooseServicePort, createDataDir, removeDataDir, ServiceProcess } from './service-process.js';
import type { TestAnswer, TestClient } from '../app/test-client.js';
import { createTestDatabase, type TestDatabase } from '../database/test-database.js';

const UPSTREAM_KEY = 'bfl_chaos_upstream_key';

/** Two service processes on one database, over one instant upstream that takes as many tasks as come. */
export class TwoGateways {
  private constructor(
    readonly database: TestDatabase,
    readonly upstream: SandboxBlackForestLabs,
    readonly services: readonly [ServiceProcess, ServiceProcess],
  ) {}

  /** `tasks`: how many calls may be at the upstream at once, for neither side is to be what limits them. */
  static async start(
    cleanUp: CleanUp,
    tasks: number,
    env: Readonly<Record<string, string>> = {},
  ): Promise<TwoGateways> {
    const database = await createTestDatabase();
    cleanUp.add(() => database.drop());
    const upstream = await startSandboxBlackForestLabs({
      apiKey: UPSTREAM_KEY,
      instant: true,
      activeTasksMax: null,
    });
    cleanUp.add(() => upstream.close());
    const start = async (): Promise<ServiceProcess> => {
      const dataDir = await createDataDir();
      cleanUp.add(() => removeDataDir(dataDir));
      const service = await ServiceProcess.start({
        dataDir,
        port: await chooseServicePort(),
        env: {
          DATABASE_URL: database.serviceUrl,
          BFL_API_KEY: UPSTREAM_KEY,
          BFL_API_BASE: upstream.baseUrl,
          BFL_ACTIVE_TASKS_MAX: String(tasks),
          ...env,
        },
      });
      cleanUp.add(() => service.kill());
      return service;
    };
    return new TwoGateways(database, upstream, await Promise.all([start(), start()]));
  }

  /** Image calls at once, in turns to either process. */
  callAll(apiKey: string, calls: number): Promise<TestAnswer[]> {
    const clients = this.services.map((service) => service.client(apiKey));
    return Promise.all(
      Array.from({ length: calls }, (_, index) => {
        const prompt = `image ${index % 8}`;
        const call = { model: 'black-forest-labs/flux-2-klein-9b', prompt, size: '64x64' };
        return (clients[index % clients.length] as TestClient).post('/v1/images/generations', call);
      }),
    );
  }
}

/** How often each status came, with its error and its charge. */
export function countOutcomes(answers: readonly TestAnswer[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, headers, body } of answers) {
    const code = body.error === undefined ? '' : ` ${body.error.code}`;
    const outcome = `${status}${code} charged ${headers.get('x-charged-micros')}`;
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}
