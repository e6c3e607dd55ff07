import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Pool } from 'undici';
import { accountId } from './database.js';
import { openLoop, type Latencies } from './open-loop.js';
import { cpuMsOf, NICENESS } from './processes.js';
import { PlainClient, requestText, statusOf } from './plain-http.js';
import { OPERATOR_KEY, startService, stop, type Service } from './service.js';
import { here } from './tools.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
const CALLS_PER_SECOND = 200;
const UPSTREAM_KEY = 'bfl_benchmark_upstream_key';

export type Upstream = { readonly url: string; stop(): Promise<void> };

/** The sandbox Black Forest Labs as its own process: every task is ready at its first poll. */
export function startUpstream(): Promise<Upstream> {
  return startStandIn([here('../dist/sandbox/main.js'), '--bfl-instant', '--bfl-unlimited']);
}

/** Answers like it and does nothing else. */
export function startInstantUpstream(): Promise<Upstream> {
  return startStandIn(['--import', here('../test/support/typescript.mjs'), here('instant-upstream.ts')]);
}

async function startStandIn(args: readonly string[]): Promise<Upstream> {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
  const { bfl_api_base: url } = JSON.parse(line) as { bfl_api_base: string };
  return { url, stop: () => stop(child) };
}

export function startGateway(databaseUrl: string, upstream: Upstream): Promise<Service> {
  const env = { BFL_API_KEY: UPSTREAM_KEY, BFL_API_BASE: upstream.url, BFL_ACTIVE_TASKS_MAX: '1000' };
  return startService(databaseUrl, env, NICENESS);
}

/** A key of the account, made as an operator would. */
export async function makeAccountKey(service: Service, account: string): Promise<string> {
  const answer = await fetch(`${service.url}/v1/accounts/${account}/api_keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${OPERATOR_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'benchmark', scopes: ['generate', 'wallet:read'] }),
  });
  if (answer.status !== 201) throw new Error(`no key: ${answer.status} ${await answer.text()}`);
  return ((await answer.json()) as { secret: string }).secret;
}

/** Sides take turns, so each has paused before its turn: what this costs is no part of a steady rate. */
const LEAD_IN_SECONDS = 1;

/** What runs often is compiled better for a while: after 10 and after 30 s the first round took a sixth more CPU than the next. */
const WARM_UP_SECONDS = 40;

/** CPU time a call, all threads and processes; it counts the lead-in as well. */
export type Effort = { readonly gatewayMs: number; readonly postgresMs: number };

/** Rounds in the order measured; those of one round belong together. */
export type GenerationResult = {
  readonly upstream: Latencies[];
  readonly gateway: Latencies[];
  readonly effort: Effort[];
};

type GenerationLoad = {
  readonly size: string;
  readonly seconds: number;
  readonly rounds: number;
  readonly postmaster: number;
};

/**
 * The same images at the same rate, straight from the upstream and through the gateway of each ledger, in turns.
 * Answers a result a ledger.
 */
export async function measureGeneration(
  services: ReadonlyMap<string, Service>,
  upstream: Upstream,
  { size, seconds, rounds, postmaster }: GenerationLoad,
): Promise<Record<string, GenerationResult>> {
  const direct = new PlainClient(upstream.url);
  const [width = 0, height = 0] = size.split('x').map(Number);
  const throughUpstream = (index: number) => callUpstream(direct, index, width, height);
  const gateways = new Map<string, (index: number) => Promise<void>>();
  const clients = [direct];
  for (const [ledger, service] of services) {
    const client = new PlainClient(service.url);
    const key = await makeAccountKey(service, accountId(1));
    clients.push(client);
    gateways.set(ledger, (index) => callGateway(client, key, index, size));
  }
  const loop = (call: (index: number) => Promise<void>, loopSeconds = seconds) =>
    openLoop(
      { callsPerSecond: CALLS_PER_SECOND, seconds: loopSeconds, leadInSeconds: LEAD_IN_SECONDS },
      call,
    );
  const results: Record<string, GenerationResult> = {};
  try {
    // Code is compiled and connections are open before anything is measured, on all sides.
    await loop(throughUpstream, 3);
    for (const call of gateways.values()) await loop(call, WARM_UP_SECONDS);
    for (let round = 0; round < rounds; round += 1) {
      for (const [ledger, call] of gateways) {
        const result = (results[ledger] ??= { upstream: [], gateway: [], effort: [] });
        result.upstream.push(await loop(throughUpstream));
        const pids = [services.get(ledger)?.pid ?? Number.NaN, postmaster];
        const before = await Promise.all(pids.map(cpuMsOf));
        result.gateway.push(await loop(call));
        const after = await Promise.all(pids.map(cpuMsOf));
        const calls = (seconds + LEAD_IN_SECONDS) * CALLS_PER_SECOND;
        const [gatewayMs = Number.NaN, postgresMs = Number.NaN] = after.map(
          (ms, index) => (ms - (before[index] ?? Number.NaN)) / calls,
        );
        result.effort.push({ gatewayMs, postgresMs });
      }
    }
    return results;
  } finally {
    for (const client of clients) client.close();
  }
}

async function callGateway(client: PlainClient, key: string, index: number, size: string): Promise<void> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  const body = JSON.stringify({ model: MODEL, prompt: promptOf(index), size, output_format: 'png' });
  const answer = await client.send(requestText('POST', '/v1/images/generations', headers, body));
  if (statusOf(answer) !== 200) throw new Error(`${answer.head}\n${answer.body.toString()}`);
}

/** The stand-in draws a picture once and keeps it: the benchmark measures the gateway, not the drawing. */
const promptOf = (index: number): string => `benchmark ${index % 16}`;

async function callUpstream(
  client: PlainClient,
  index: number,
  width: number,
  height: number,
): Promise<void> {
  const headers = { 'x-key': UPSTREAM_KEY, 'content-type': 'application/json' };
  const asked = JSON.stringify({ prompt: promptOf(index), width, height, output_format: 'png' });
  const submitted = await client.send(requestText('POST', '/v1/flux-2-klein-9b', headers, asked));
  const { polling_url: pollingUrl } = JSON.parse(submitted.body.toString()) as { polling_url: string };
  const polled = await client.send(requestText('GET', pathOf(pollingUrl), headers));
  const { status, result } = JSON.parse(polled.body.toString()) as {
    status: string;
    result: { sample: string };
  };
  if (status !== 'Ready') throw new Error(`the instant upstream answered ${status}`);
  await client.send(requestText('GET', pathOf(result.sample), {}));
}

function pathOf(url: string): string {
  const { pathname, search } = new URL(url);
  return pathname + search;
}

export type HardCapResult = {
  readonly delivered: number;
  readonly refused: number;
  readonly other: readonly string[];
};

/** `calls` at once, over all `services`, on one wallet. */
export async function raceForCredit(
  services: readonly Service[],
  key: string,
  calls: number,
): Promise<HardCapResult> {
  const pools = services.map(
    (service) => new Pool(service.url, { connections: Math.ceil(calls / services.length) }),
  );
  const result = { delivered: 0, refused: 0, other: [] as string[] };
  await Promise.all(
    Array.from({ length: calls }, async (_, index) => {
      const { statusCode, body } = await (pools[index % pools.length] as Pool).request({
        path: '/v1/images/generations',
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
        body: JSON.stringify({ model: MODEL, prompt: promptOf(index), size: '64x64' }),
        headersTimeout: 280_000,
        bodyTimeout: 280_000,
      });
      const text = await body.text();
      if (statusCode === 200) result.delivered += 1;
      else if (statusCode === 402 && text.includes('"insufficient_credits"')) result.refused += 1;
      else result.other.push(`${statusCode} ${text.slice(0, 200)}`);
    }),
  );
  await Promise.all(pools.map((pool) => pool.close()));
  return result;
}
