/**
 * jest's globalSetup. It runs in jest's parent process, outside of jest's module system: this file is plain
 * JavaScript that lets Node load the TypeScript of the rest.
 */
import './typescript.mjs';

export default async function setup() {
  const { startTestServer } = await import('./postgres-server.ts');
  globalThis.cofferTestServer = await startTestServer();
}
