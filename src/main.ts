import { createLogger } from './platform/logging/logger.js';
import { readUnsetAllocatorSettings } from './platform/config/allocator-settings.js';
import { loadSettings } from './platform/config/load-settings.js';
import { limitHeapGrowth, disablePretenuring } from './bootstrap/v8-settings.js';
import { describeStart } from './bootstrap/start-message.js';
import { explainStartFailure } from './bootstrap/start-failure.js';
import { startService } from './bootstrap/start-service.js';
import { superviseProcess } from './bootstrap/supervise-process.js';
import { warnOfAllocator } from './bootstrap/start-warnings.js';

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
