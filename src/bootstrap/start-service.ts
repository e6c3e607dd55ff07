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
import { warnOfOverrides } from './start-warnings.js';

export type RunningService = {
  readonly app: NestFastifyApplication;
  /** The settings that the service runs with, in which simulators replace the parts that are not configured. */
  readonly settings: Settings;
  /** The outside parts that are simulated. */
  readonly simulated: readonly string[];
  /** The file with the demo account and its keys; null when there is none. */
  readonly demoFile: string | null;
  /** What the operator should know about the settings at a start; usually empty. */
  readonly notices: readonly string[];
  /** Where this process listens, without a slash at its end. */
  readonly url: string;
  /** Finishes what was accepted, then stops everything, the database last. Returns whether every part stopped without an error. */
  readonly stop: () => Promise<boolean>;
};

export type StartOptions = {
  readonly settings: Settings;
  readonly log: Logger;
  /** Called when a part that the service cannot work without has failed permanently. */
  readonly onFailure: (error: Error) => void;
};

/**
 * Starts everything in order: database, simulators (outside production), application, port. When a later step
 * fails, what was started is stopped again.
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
  // Loading the code takes about as long as starting the database, and they do not depend on each other.
  const loading = import('./app.setup.js');
  loading.catch(() => undefined);
  const database = await openDatabase(
    settings,
    (level, message) => log[level]({ event: 'embedded_postgres.reported' }, message),
    options.onFailure,
  );
  started.push('the database', () => database.stop());
  const simulators = await startSimulators({ ...settings, databaseUrl: database.url }, log);
  started.push('the simulators', () => simulators.stop());
  const { createApp } = await loading;
  const app = await createApp({ settings: simulators.settings, log, simulated: simulators.simulated });
  started.push('the application', () => app.close());
  const { ModelCatalogService } = await import('../gateway/catalog/model-catalog.service.js');
  const notices = describeProviderGaps(
    await app.get(ModelCatalogService).current(),
    simulators.settings,
    settings,
  );
  started.push('the HTTP server', () => drainHttp(app, settings.shutdownDelaySeconds, log));
  await listen(app, settings);
  const url = localUrl(settings);
  const demoFile = await simulators.welcome(app, url);
  return { app, settings: simulators.settings, simulated: simulators.simulated, demoFile, notices, url };
}

/** Production does not even load the simulators' code. */
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
