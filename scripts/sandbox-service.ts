/**
 * What the scripts that play customers share: the built service as a process of their own, the demo account's
 * access, and calls of the HTTP API.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MICROS_PER_CENT } from '../src/platform/common/money.js';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));
const READY_WITHIN_MS = 60_000;
const SETTLED_WITHIN_MS = 20_000;
const POLL_MS = 50;

/** The members of `demo.json`. */
export type SandboxAccess = {
  readonly base_url: string;
  readonly account_id: string;
  readonly api_key: string;
  readonly operator_key: string;
  readonly stripe_api_base: string;
};

const accessFile = (dataDir: string): string => join(dataDir, 'demo.json');

export async function readAccess(dataDir: string): Promise<SandboxAccess | null> {
  const text = await readFile(accessFile(dataDir), 'utf8').catch(() => null);
  return text === null ? null : (JSON.parse(text) as SandboxAccess);
}

/** Starts the service on any free port, and waits until it answers. */
export async function startSandboxService(
  dataDir: string,
  environment: NodeJS.ProcessEnv,
): Promise<{
  readonly access: SandboxAccess;
  readonly env: NodeJS.ProcessEnv;
  readonly stop: () => Promise<void>;
}> {
  const env = {
    ...environment,
    PORT: '0',
    COFFER_DATA_DIR: dataDir,
    LOG_LEVEL: 'warn',
    NODE_ENV: 'development',
  };
  const writtenAt = (): Promise<number | undefined> =>
    stat(accessFile(dataDir)).then(
      ({ mtimeMs }) => mtimeMs,
      () => undefined,
    );
  const before = await writtenAt();
  // A script that is killed takes its service along.
  const endWithUs = ['--import', join(ROOT, 'test/support/process/end-with-parent.mjs')];
  const service = spawn(process.execPath, [...endWithUs, join(ROOT, 'dist/main.js')], {
    env,
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  try {
    const access = await until('the service is ready, with a simulated Stripe', READY_WITHIN_MS, async () => {
      if (hasEnded(service)) throw new Error('the service did not start');
      // The file is written at the end of a start; until then it is the last run's, whose port was another.
      return (await writtenAt()) === before ? null : readAccess(dataDir);
    });
    return { access, env, stop: () => stop(service) };
  } catch (error) {
    await stop(service);
    throw error;
  }
}

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean =>
  exitCode !== null || signalCode !== null;

async function stop(service: ChildProcess): Promise<void> {
  if (hasEnded(service)) return;
  const gone = once(service, 'exit');
  service.kill('SIGTERM');
  await gone;
}

/** Members that the scripts read; money is strings of micro-dollars, a charge whole cents. */
export type Answer = Readonly<Record<string, string>> & {
  readonly charge_cents: number;
  readonly data: readonly Answer[];
};

/** One call of the API. Throws what an answer that is not 2xx says. */
export async function callApi(
  baseUrl: string,
  key: string,
  request: {
    readonly method: string;
    readonly path: string;
    readonly body?: object;
    readonly idempotencyKey?: string;
  },
): Promise<Answer> {
  const { method, path, body, idempotencyKey } = request;
  const answer = await fetch(`${baseUrl}${path}`, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(idempotencyKey === undefined ? {} : { 'idempotency-key': idempotencyKey }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const json = (await answer.json()) as Answer;
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(json)}`);
  return json;
}

/** Pays an open top-up on the simulated Stripe's page and waits for the webhook to credit it. */
export async function payTopUp(baseUrl: string, key: string, topUp: Answer, card?: string): Promise<Answer> {
  const paid = await fetch(`${topUp['checkout_url']}/pay`, {
    method: 'POST',
    headers: { accept: 'application/json' },
    ...(card === undefined ? {} : { body: new URLSearchParams({ card }) }),
  });
  if (!paid.ok) throw new Error(`the payment page answered ${paid.status}`);
  return until('the payment is credited', SETTLED_WITHIN_MS, async () => {
    const now = await callApi(baseUrl, key, { method: 'GET', path: `/v1/top_ups/${topUp['id']}` });
    return now['status'] === 'paid' ? now : null;
  });
}

/** Asks again until there is an answer. */
export async function until<T>(what: string, withinMs: number, ask: () => Promise<T | null>): Promise<T> {
  const deadline = performance.now() + withinMs;
  while (performance.now() < deadline) {
    const found = await ask();
    if (found !== null) return found;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`${what}: not within ${withinMs / 1_000} s`);
}

/** Whole cents, as `40.00`, of the micros that an answer says. */
export const dollars = (micros = '0'): string => (Number(BigInt(micros) / MICROS_PER_CENT) / 100).toFixed(2);
