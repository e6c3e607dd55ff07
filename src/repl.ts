import { repl } from '@nestjs/core';
import { AppModule } from './app.module.js';
import { findDatabase } from './cli/find-database.js';
import { createLogger } from './platform/logging/logger.js';
import { loadSettings } from './platform/config/load-settings.js';
import { noSimulators } from './bootstrap/simulators.js';
import { explainStartFailure } from './bootstrap/start-failure.js';

/**
 * `npm run repl` gives the objects of the service at a prompt: `await get(WalletReaderService).read('acct_…')`. It joins the
 * database and the simulators of a running service, or starts the database by itself. It runs no jobs, migrates nothing
 * and does not listen. Calls made at the prompt have their real effect.
 */
async function main(): Promise<void> {
  const settings = loadSettings();
  const database = await findDatabase();
  const wanted = { ...settings, databaseUrl: database.url, runJobs: false };
  const log = createLogger('warn');
  const simulators =
    settings.environment === 'production'
      ? noSimulators(wanted)
      : await (await import('./bootstrap/first-run/first-run.js')).startFirstRun(wanted, log, 'join');
  await repl(AppModule.with(simulators.settings));
  // The prompt closes the application when it ends. Only after that is the database no longer needed.
  process.once('beforeExit', () => void database.stop());
}

main().catch(explainStartFailure);
