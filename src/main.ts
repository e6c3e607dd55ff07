import { createLogger } from './common/logger.js';
import { readUnsetAllocatorSettings } from './config/allocator-settings.js';
import { loadSettings } from './config/load-settings.js';
import { limitHeapGrowth } from './startup/heap-growth.js';
import { disablePretenuring } from './startup/pretenuring.js';
import { describeStart } from './startup/start-message.js';
import { explainStartFailure } from './startup/start-failure.js';
import { startService } from './startup/start-service.js';
import { superviseProcess } from './startup/supervise-process.js';
import { warnOfAllocator } from './startup/warn-of-allocator.js';

/** The service: HTTP, and its jobs unless `COFFER_JOBS=off`. */
async function main(): Promise<void> {
  limitHeapGrowth();
  disablePretenuring();
  const unsetOfAllocator = readUnsetAllocatorSettings();
  const settings = loadSettings();
  const log = createLogger(settings.logLevel, { traceFile: settings.logTraceFile });
  warnOfAllocator(unsetOfAllocator, log);
  const process = superviseProcess(log);
  const service = await startService({ settings, log, onFailure: process.fail });
  process.onStop(service.stop);
  describeStart(service, log);
}

main().catch(explainStartFailure);
