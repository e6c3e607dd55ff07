import { createLogger } from './platform/logging/logger.js';
import { readUnsetAllocatorSettings } from './platform/config/allocator-settings.js';
import { loadSettings } from './platform/config/load-settings.js';
import { limitHeapGrowth, disablePretenuring } from './bootstrap/v8-settings.js';
import { explainStartFailure } from './bootstrap/start-failure.js';
import { startWorker } from './bootstrap/start-worker.js';
import { superviseProcess } from './bootstrap/supervise-process.js';
import { warnOfAllocator } from './bootstrap/start-warnings.js';

/** Runs only jobs. Any number of workers can run in addition to the service; all share one `DATABASE_URL`. */
async function main(): Promise<void> {
  limitHeapGrowth();
  disablePretenuring();
  const unsetOfAllocator = readUnsetAllocatorSettings();
  const settings = loadSettings();
  const log = createLogger(settings.logLevel, { traceFile: settings.logTraceFile });
  warnOfAllocator(unsetOfAllocator, log);
  const process = superviseProcess(log);
  const worker = await startWorker({ settings, log, onFailure: process.fail });
  process.onStop(worker.stop);
  log.info({ event: 'worker.started' }, 'The worker is ready');
}

main().catch(explainStartFailure);
