import { createLogger } from './common/logger.js';
import { readUnsetAllocatorSettings } from './config/allocator-settings.js';
import { loadSettings } from './config/load-settings.js';
import { limitHeapGrowth } from './startup/heap-growth.js';
import { disablePretenuring } from './startup/pretenuring.js';
import { explainStartFailure } from './startup/start-failure.js';
import { startWorker } from './startup/start-worker.js';
import { superviseProcess } from './startup/supervise-process.js';
import { warnOfAllocator } from './startup/warn-of-allocator.js';

/** Jobs only, for as many processes beside the service as they need. Takes a `DATABASE_URL` to share. */
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
  log.info('the worker is ready');
}

main().catch(explainStartFailure);
