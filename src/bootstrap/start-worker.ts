import type { StartOptions } from './start-service.js';
import { openDatabase } from './open-database.js';
import { describeProviderGaps } from './provider-coverage.js';
import { noSimulators } from './simulators.js';
import { StopStack } from './stop-stack.js';
import { warnOfOverrides } from './start-warnings.js';

/** The embedded database belongs to the one process that started it, so a worker cannot use it. */
export class WorkerDatabaseMissingError extends Error {
  constructor() {
    super(
      'A worker shares the database of the service: set DATABASE_URL for both, and COFFER_JOBS=off for the service. ' +
        'With the embedded database the service does the jobs itself, and no worker is needed.',
    );
    this.name = 'WorkerDatabaseMissingError';
  }
}

/**
 * Starts the jobs of the service without HTTP. Outside production it joins the simulators of the service on the
 * same data directory.
 */
export async function startWorker(options: StartOptions): Promise<{ readonly stop: () => Promise<boolean> }> {
  const { settings, log } = options;
  // A worker could not lock the data directory while the service runs, and without the service it has nothing to do.
  if (settings.databaseUrl === null) throw new WorkerDatabaseMissingError();
  warnOfOverrides(settings, log);
  const started = new StopStack(log);
  try {
    const database = await openDatabase(
      settings,
      (level, message) => log[level]({ event: 'embedded_postgres.reported' }, message),
      options.onFailure,
    );
    started.push('the database', () => database.stop());
    const wanted = { ...settings, databaseUrl: database.url };
    const simulators =
      settings.environment === 'production'
        ? noSimulators(wanted)
        : await (await import('./first-run/first-run.js')).startFirstRun(wanted, log, 'join');
    const { createWorker } = await import('./app.setup.js');
    const app = await createWorker({ settings: simulators.settings, log });
    started.push('the jobs', () => app.close());
    const { ModelCatalogService } = await import('../gateway/catalog/model-catalog.service.js');
    // The service reports the rest. A worker only checks that it can finish calls which a killed process left.
    describeProviderGaps(await app.get(ModelCatalogService).current(), simulators.settings);
    return { stop: () => started.unwind() };
  } catch (error) {
    await started.unwind();
    throw error;
  }
}
