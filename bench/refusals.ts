import { Pool } from 'undici';
import { ACCOUNT_SCOPES } from '../src/auth/principal.js';
import { newId } from '../src/common/ids.js';
import { micros } from '../src/common/money.js';
import {
  COMPLEX_BODIES,
  documentedRoutes,
  largeBodies,
  WIDE_QUERIES,
  type Route,
} from '../test/support/hostile-requests.js';
import type { CleanUp } from './clean-up.js';
import { cpuMsOf } from './cpu.js';
import { createLedger, creditOf, startCluster, withEngine } from './ledgers.js';
import { makeAccountKey, OPERATOR_KEY, startService, type Server } from './servers.js';

/** The clock of a process ticks every 10 ms, so each request is sent so often that its share can be told. */
const REPEATS = 8;
const WARM_UP = 200;
const SHOWN_MAX = 15;

export type Refusal = {
  readonly request: string;
  /** Of the answers, of which there is one in almost every row. */
  readonly statuses: readonly number[];
  /** Of the service, a request. */
  readonly cpuMs: number;
};

type Sent = {
  readonly name: string;
  readonly route: Route;
  readonly query: string;
  readonly body: string | null;
};

/**
 * What the service spends on a request that it refuses: every documented route, with the largest and most intricate bodies and
 * queries that it can be sent, one at a time.
 */
export async function measureRefusals(options: {
  readonly dir: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
}): Promise<readonly Refusal[]> {
  const { dir, cleanUp, say } = options;
  const cluster = await startCluster(dir, 'refusals', cleanUp);
  const ledger = await createLedger(cluster, 'bench_refusals', 1);
  const { url } = ledger;
  // Each refused webhook is a warning.
  const service = await startService(ledger, cleanUp, { LOG_LEVEL: 'error' });
  const account = await makeAccountKey(service, await makeAccount(url), ACCOUNT_SCOPES);
  const keys = { operator: OPERATOR_KEY, account };
  const pool = new Pool(service.url, { connections: 1 });
  cleanUp.add(() => pool.destroy());
  const send = (request: Sent): Promise<number> => sendOnce(pool, request, keys);
  const requests = documentedRoutes().flatMap(hostileTo);
  say(`${requests.length} kinds of requests, ${REPEATS} of each`);
  for (const request of requests.slice(0, WARM_UP)) await send(request);
  const refusals: Refusal[] = [];
  for (const request of requests) refusals.push(await measure(service, request, send));
  return refusals;
}

export function refusalTable(refusals: readonly Refusal[]): string {
  const dearest = [...refusals].sort((one, other) => other.cpuMs - one.cpuMs).slice(0, SHOWN_MAX);
  const rows = dearest.map(
    ({ request, statuses, cpuMs }) => `| ${request} | ${statuses.join(', ')} | ${cpuMs.toFixed(1)} |`,
  );
  return ['| the dearest refusals | status | CPU ms |', '| --- | --- | ---: |', ...rows].join('\n');
}

async function measure(
  service: Server,
  request: Sent,
  send: (request: Sent) => Promise<number>,
): Promise<Refusal> {
  const statuses = new Set<number>();
  const before = cpuMsOf(service.pid);
  for (let round = 0; round < REPEATS; round += 1) statuses.add(await send(request));
  return { request: request.name, statuses: [...statuses], cpuMs: (cpuMsOf(service.pid) - before) / REPEATS };
}

function hostileTo(route: Route): Sent[] {
  const name = `${route.method} ${route.path}`;
  const queries = Object.entries(WIDE_QUERIES).map(([kind, query]): Sent => {
    return { name: `${name}: ${kind}`, route, query: `?${query}`, body: null };
  });
  const bodies = [...Object.entries(COMPLEX_BODIES), ...(route.members ?? []).flatMap(entriesFor)];
  return [
    ...queries,
    ...(route.members === null ? [] : bodies).map(([kind, body]): Sent => {
      return { name: `${name}: ${kind}`, route, query: '', body };
    }),
  ];
}

/** As many items as a batch of debits takes, each of which is refused by itself. */
const BATCH = JSON.stringify({
  debits: Array.from({ length: 1_000 }, () => ({ account: 'none', images: 0 })),
});

function entriesFor(member: string): [string, string][] {
  const bodies = Object.entries(largeBodies(member));
  if (member === 'debits') bodies.push(['1,000 wrong debits', BATCH]);
  return bodies.map(([kind, body]) => [`${kind} (${member})`, body]);
}

async function sendOnce(
  pool: Pool,
  { route, query, body }: Sent,
  keys: Readonly<Record<'operator' | 'account', string>>,
): Promise<number> {
  const { statusCode, body: answer } = await pool.request({
    path: route.path + query,
    method: route.method,
    headers: {
      ...(route.key === null ? {} : { authorization: `Bearer ${keys[route.key]}` }),
      ...(body === null ? {} : { 'content-type': 'application/json' }),
    },
    body,
  });
  await answer.dump();
  return statusCode;
}

async function makeAccount(url: string): Promise<string> {
  const id = newId('account');
  await withEngine(url, async (engine, dataSource) => {
    await dataSource.query(`INSERT INTO accounts (id, name, created_at) VALUES ($1, 'Refused', now())`, [id]);
    await engine.execute(creditOf(id, micros(1_000_000n)));
  });
  return id;
}
