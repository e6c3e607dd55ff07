/**
 * jest's globalSetup. It runs in jest's parent process, outside of jest's module system: this file is plain
 * JavaScript that lets Node load the TypeScript of the rest.
 */
import '../support/typescript.mjs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';

export default async function setup() {
  const { startTestServer } = await import('../support/database/postgres-server.ts');
  const { RUN_LOG_VARIABLE } = await import('../support/app/run-log.ts');
  globalThis.cofferTestServer = await startTestServer();
  globalThis.cofferRunLog = await mkdtemp(path.join(tmpdir(), `coffer-test-${process.pid}-log-`));
  process.env[RUN_LOG_VARIABLE] = globalThis.cofferRunLog;
}
