import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import type { Settings } from '../platform/config/settings.js';
import { drainHttp } from './drain-http.js';
import { chooseListenPort, toListenError } from './listen-address.js';
import { localUrl } from '../platform/config/local-url.js';
import { openDatabase } from './open-database.js';
import { describeProviderGaps } from './provider-coverage.js';
import { noSimulators, type Simulators } from './simulators.js';
import { StopStack } from './stop-stack.js';
import { warnOfOverrides } from './warn-of-overrides.js';

export type RunningService = {
  readonly app: NestFastifyApplication;
  /** What the service runs with: the settings, and in them the stand-ins for what they leave out. */
  readonly settings: Settings;
  /** Outside parts that a stand-in plays. */
  readonly simulated: readonly string[];
  /** Where a newcomer finds a demo account and its keys; null when there is none. */
  readonly demoFile: string | null;
  /** What whoever starts the service should know of its settings; mostly empty. */
  readonly notices: readonly string[];
  /** Where this process listens, without a slash at its end. */
  readonly url: string;
  /** Finishes what was accepted, then stops everything, the database last. Answers whether all went well. */
  readonly stop: () => Promise<boolean>;
};

export type StartOptions = {
  readonly settings: Settings;
  readonly log: Logger;
  /** Called when a part that the service cannot live without is gone for good. */
  readonly onFailure: (error: Error) => void;
};

/**
 * Starts everything in order: database, stand-ins (outside production), application, port. What was started is
 * stopped again when a later step fails.
 */
export async function startService(options: StartOptions): Promise<RunningService> {
  const started = new StopStack(options.log);
  let stopping: Promise<boolean> | null = null;
  const stop = () => (stopping ??= started.unwind());
  try {
    return { ...(await startAll(options, started)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startAll(options: StartOptions, started: StopStack): Promise<Omit<RunningService, 'stop'>> {
  const { log } = options;
  warnOfOverrides(options.settings, log);
  const settings = { ...options.settings, port: await chooseListenPort(options.settings) };
  // Loading the code takes about as long as starting the database does; neither needs the other.
  const loading = import('./app.setup.js');
  loading.catch(() => undefined);
  const database = await openDatabase(settings, (level, message) => log[level](message), options.onFailure);
  started.push('the database', () => database.stop());
  const simulators = await startSimulators({ ...settings, databaseUrl: database.url }, log);
  started.push('the stand-ins', () => simulators.stop());
  const { createApp } = await loading;
  const app = await createApp({ settings: simulators.settings, log, simulated: simulators.simulated });
  started.push('the application', () => app.close());
  const { ModelCatalog } = await import('../gateway/catalog/model-catalog.service.js');
  const notices = describeProviderGaps(await app.get(ModelCatalog).current(), simulators.settings, settings);
  started.push('the HTTP server', () => drainHttp(app, settings.shutdownDelaySeconds, log));
  await listen(app, settings);
  const url = localUrl(settings);
  const demoFile = await simulators.welcome(app, url);
  return { app, settings: simulators.settings, simulated: simulators.simulated, demoFile, notices, url };
}

/** Production never even loads the code of the stand-ins. */
async function startSimulators(settings: Settings, log: Logger): Promise<Simulators> {
  if (settings.environment === 'production') return noSimulators(settings);
  const { startFirstRun } = await import('./first-run/first-run.js');
  return startFirstRun(settings, log, 'start');
}

async function listen(app: NestFastifyApplication, { host, port }: Settings): Promise<void> {
  try {
    await app.listen(port, host);
  } catch (error) {
    throw toListenError(error, host, port);
  }
}
