import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { makeApiKey } from '../src/identity/auth/credentials.js';
import type { AccountScope } from '../src/identity/auth/principal.js';
import type { CleanUp } from './clean-up.js';
import type { Ledger } from './ledgers.js';
import { here } from './tools.js';

/** A process that answers HTTP on this machine. */
export type Server = { readonly url: string; readonly pid: number };

export const OPERATOR_KEY = makeApiKey('operator_key');

/** A slow machine with two busy cores starts the service in about ten seconds. */
const START_SECONDS_MAX = 60;
/** The service finishes what it has accepted for at most this long; see SHUTDOWN_DELAY_SECONDS in .env.example. */
const STOP_SECONDS_MAX = 20;
const READY_POLL_MS = 100;
const READY_ANSWER_MS_MAX = 5_000;

/** As `npm start` and the container image have them, and for every side alike. */
const NODE_ARGS = ['--enable-source-maps', '--max-semi-space-size=32'];
/** The same, of the service: see docs/adr/0054-the-allocator-gives-memory-back.md. */
const ALLOCATOR = { MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '131072' };

/** A file of this folder as a process: it prints `{"url": …}` as its first line once it listens. */
export async function startSide(
  file: string,
  cleanUp: CleanUp,
  env: Readonly<Record<string, string>> = {},
): Promise<Server> {
  const loader = ['--import', here('../test/support/typescript.mjs')];
  const child = spawn(process.execPath, ['--no-warnings', ...NODE_ARGS, ...loader, here(file)], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanUp.add(() => stop(child));
  const { url } = JSON.parse(await firstLine(child, file)) as { url: string };
  return { url, pid: child.pid ?? Number.NaN };
}

/** Resolves with the first line that the process prints; rejects when it ends before or takes too long. */
export async function firstLine(child: ChildProcess, name: string): Promise<string> {
  if (child.stdout === null) throw new Error(`${name} was started without its output`);
  const ended = new AbortController();
  child.once('exit', () => ended.abort());
  const limit = AbortSignal.timeout(START_SECONDS_MAX * 1_000);
  try {
    const signal = AbortSignal.any([limit, ended.signal]);
    const [line] = (await once(createInterface(child.stdout), 'line', { signal })) as [string];
    return line;
  } catch (error) {
    const why = limit.aborted ? `did not start within ${START_SECONDS_MAX} s` : 'ended before it had started';
    throw new Error(`${name} ${why}`, { cause: error });
  }
}

/** The built service as its own process: `dist/main.js`, limits off, quiet, on the measured database. */
export async function startService(
  { serviceUrl }: Pick<Ledger, 'serviceUrl'>,
  cleanUp: CleanUp,
  env: Readonly<Record<string, string>> = {},
): Promise<Server> {
  const port = Number(env['PORT'] ?? (await freePort()));
  const dataDir = await mkdtemp(join(tmpdir(), 'coffer-bench-service-'));
  // For a profile of the service: BENCH_NODE_ARGS="--cpu-prof".
  const further = process.env['BENCH_NODE_ARGS']?.split(' ') ?? [];
  const child = spawn(process.execPath, [...NODE_ARGS, ...further, here('../dist/main.js')], {
    env: {
      ...ALLOCATOR,
      ...process.env,
      DATABASE_URL: serviceUrl,
      PORT: `${port}`,
      COFFER_DATA_DIR: dataDir,
      COFFER_OPERATOR_KEY: OPERATOR_KEY,
      RATE_LIMIT: 'off',
      LOG_LEVEL: 'warn',
      COFFER_MASTER_KEYS: `bench:${randomBytes(32).toString('base64')}`,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanUp.add(async () => {
    await stop(child);
    await rm(dataDir, { recursive: true, force: true });
  });
  // Its greeting is shown only when it fails to start; what it warns of is.
  let printed = '';
  createInterface(child.stdout).on('line', (line) => {
    if (line.startsWith('{')) console.log(line);
    else printed += `${line}\n`;
  });
  const url = `http://127.0.0.1:${port}`;
  try {
    await untilReady(url, child);
  } catch (error) {
    console.error(printed);
    throw error;
  }
  return { url, pid: child.pid ?? Number.NaN };
}

async function untilReady(url: string, child: ChildProcess): Promise<void> {
  const endsAtMs = performance.now() + START_SECONDS_MAX * 1_000;
  while (performance.now() < endsAtMs) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error('the service ended before it was ready');
    }
    const isReady = await fetch(`${url}/health/ready`, {
      signal: AbortSignal.timeout(READY_ANSWER_MS_MAX),
    }).then(
      (answer) => answer.ok,
      () => false,
    );
    if (isReady) return;
    await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
  }
  throw new Error(`the service was not ready within ${START_SECONDS_MAX} s`);
}

/** Asks it to end, and ends it when it does not. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_SECONDS_MAX * 1_000);
  await gone;
  clearTimeout(timer);
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

const ANSWER_MS_MAX = 30_000;

/** A call of the operator's API, for preparing what is measured. Throws unless it is answered with 201. */
export async function operate(server: Server, path: string, body: unknown): Promise<unknown> {
  const answer = await fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(ANSWER_MS_MAX),
  });
  if (answer.status !== 201) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/** A key of the account, made as an operator would. */
export async function makeAccountKey(
  server: Server,
  account: string,
  scopes: readonly AccountScope[] = ['generate', 'wallet:read'],
): Promise<string> {
  const wanted = { name: 'benchmark', scopes };
  const { secret } = (await operate(server, `/v1/accounts/${account}/api_keys`, wanted)) as {
    secret: string;
  };
  return secret;
}
