import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeApiKey } from '../src/auth/api-key-format.js';
import { here } from './tools.js';

export type Service = {
  readonly url: string;
  readonly operatorKey: string;
  readonly pid: number;
  stop(): Promise<void>;
};

export const OPERATOR_KEY = makeApiKey('operator_key');

/**
 * The built service as its own process: `dist/main.js`, limits off, quiet, against the measured server.
 *
 * @param niceness see `NICENESS`; that of all threads, which only a process that is started with it has.
 */
export async function startService(
  databaseUrl: string,
  env: Record<string, string> = {},
  niceness = 0,
): Promise<Service> {
  const port = Number(env['PORT'] ?? (await freePort()));
  const dataDir = await mkdtemp(join(tmpdir(), 'coffer-bench-'));
  const nodeArgs = process.env['BENCH_NODE_ARGS']?.split(' ') ?? [];
  const child = spawn('nice', ['-n', `${niceness}`, process.execPath, ...nodeArgs, here('../dist/main.js')], {
    env: {
      ...process.env,
      DATABASE_URL: databaseUrl,
      PORT: `${port}`,
      COFFER_DATA_DIR: dataDir,
      COFFER_OPERATOR_KEY: OPERATOR_KEY,
      RATE_LIMIT: 'off',
      LOG_LEVEL: 'warn',
      COFFER_MASTER_KEYS: `bench:${randomBytes(32).toString('base64')}`,
      ...env,
    },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const url = `http://127.0.0.1:${port}`;
  await untilReady(url, child);
  return { url, operatorKey: OPERATOR_KEY, pid: child.pid ?? Number.NaN, stop: () => stop(child) };
}

async function untilReady(url: string, child: ChildProcess): Promise<void> {
  for (let attempt = 0; attempt < 300; attempt += 1) {
    if (child.exitCode !== null) throw new Error('the service stopped before it was ready');
    const ready = await fetch(`${url}/health/ready`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (ready) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error('the service did not become ready');
}

export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  await gone;
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}
