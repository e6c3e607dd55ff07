/**
 * What one customer notices of another one who floods the service: the time that a call for one image takes, alone and
 * during the flood, and what the service takes of memory and cores. Service, database, simulated provider and the flood are
 * processes of their own; all of them share the cores of the machine, and the customer who is measured shares them too.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { CleanUp } from './clean-up.js';
import { cpuMsOf } from './cpu.js';
import type { FloodKind } from './flood-kinds.js';
import { createLedger, examine, startCluster, withClient } from './ledgers.js';
import { table } from './report.js';
import { startProvider } from './sandbox.js';
import { makeAccountKey, startService, startSide, type Server } from './servers.js';
import { quantile } from './statistics.js';
import { accountId } from './wallets.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
/** What the real model takes. With 24 slots that makes 8 images a second, and one account may ask for 20. */
const LATENCY_MS = 3_000;
/** Of the customer who is measured, each one call after the other. */
const CALLERS = 4;
const WARM_UP_CALLS = 2;
/** Until the flood has filled whatever it fills. */
const FLOOD_RISES_MS = 10_000;
const RSS_EVERY_MS = 200;
const ANSWER_MS_MAX = 180_000;
const FLOODING = accountId(1);
const MEASURED = accountId(2);

/** The aims: a 95th percentile of at most so many times that of the customer alone, no refusal, and so much memory. */
const P95_RATIO_MAX = 3;
const RSS_MB_MAX = 600;
/** What a process holds is counted in MiB. */
const RSS_MIB_MAX = (RSS_MB_MAX * 1e6) / 1_048_576;

type Calls = { readonly timesMs: readonly number[]; readonly refusals: Readonly<Record<string, number>> };

export type FairnessResult = {
  readonly flood: readonly FloodKind[];
  readonly seconds: number;
  readonly alone: Calls;
  readonly flooded: Calls;
  /** How the flood was answered, by kind and status. */
  readonly floodAnswers: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly rssMiB: { readonly before: number; readonly max: number };
  /** Of one core, during the flood. */
  readonly cpuShares: Readonly<Record<string, number>>;
};

export type FairnessOptions = {
  readonly flood: readonly FloodKind[];
  readonly seconds: number;
  readonly dir: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
};

export async function measureFairness(options: FairnessOptions): Promise<FairnessResult> {
  const { flood: kinds, seconds, dir, cleanUp, say } = options;
  const cluster = await startCluster(dir, 'fairness', cleanUp);
  const ledger = await createLedger(cluster, 'bench_fairness', 2);
  const { url } = ledger;
  const dataDir = await mkdtemp(join(dir, 'fairness-data-'));
  const provider = await startProvider(cleanUp, LATENCY_MS);
  const service = await startService(ledger, cleanUp, {
    RATE_LIMIT: 'on',
    COFFER_DATA_DIR: dataDir,
    BFL_API_KEY: 'bfl_benchmark_of_fairness',
    BFL_API_BASE: provider.url,
    LOG_LEVEL: 'error',
  });
  const key = await makeAccountKey(service, MEASURED);
  const pool = new Pool(service.url, {
    connections: CALLERS,
    headersTimeout: ANSWER_MS_MAX,
    bodyTimeout: ANSWER_MS_MAX,
  });
  cleanUp.add(() => pool.destroy());
  const ask = (calls: Mutable, until: () => boolean) => callRepeatedly(pool, key, calls, until);
  let warm = 0;
  await ask(noCalls(), () => (warm += 1) > WARM_UP_CALLS);

  say(`fairness: alone for ${seconds} s`);
  const alone = await callFor(seconds, ask);
  const ofFlood = new CleanUp();
  cleanUp.add(() => ofFlood.run());
  const flood = await startFlood(service, { kinds, dataDir, cleanUp: ofFlood });
  const rss = watchRss(service.pid, cleanUp);
  say(`fairness: with a flood of ${kinds.join(', ')} for ${seconds} s`);
  await fetch(`${flood.url}/start`, { method: 'POST', signal: AbortSignal.timeout(ANSWER_MS_MAX) });
  await sleep(FLOOD_RISES_MS);
  const parts = { service: service.pid, postgres: cluster.pid, provider: provider.pid, flood: flood.pid };
  const cpuBefore = Object.values(parts).map(cpuMsOf);
  const startedAtMs = performance.now();
  const flooded = await callFor(seconds, ask);
  const tookMs = performance.now() - startedAtMs;
  const cpuShares = Object.fromEntries(
    Object.entries(parts).map(([name, pid], index) => [
      name,
      (cpuMsOf(pid) - (cpuBefore[index] ?? 0)) / tookMs,
    ]),
  );
  const answers = await fetch(`${flood.url}/counts`, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
  const floodAnswers = (await answers.json()) as FairnessResult['floodAnswers'];
  await ofFlood.run();
  const rssMiB = rss();
  await untilSettled(url);
  await examine(url);
  return { flood: kinds, seconds, alone, flooded, floodAnswers, rssMiB, cpuShares };
}

/** Markdown. */
export function fairnessTable(result: FairnessResult): string {
  const { flood, seconds, alone, flooded, floodAnswers, rssMiB, cpuShares } = result;
  const ratio = p95Of(flooded) / p95Of(alone);
  const refused = Object.values(flooded.refusals).reduce((sum, each) => sum + each, 0);
  const verdict = (isReached: boolean): string => (isReached ? 'reached' : 'not reached');
  const seconds95 = (calls: Calls): string =>
    `${(quantile(calls.timesMs, 0.5) / 1e3).toFixed(2)} / ${(p95Of(calls) / 1e3).toFixed(2)} s of ${calls.timesMs.length} calls`;
  const answered = Object.entries(floodAnswers).map(
    ([kind, byStatus]) =>
      `${kind}: ${Object.entries(byStatus)
        .map(([status, times]) => `${times} x ${status}`)
        .join(', ')}`,
  );
  const shares = Object.entries(cpuShares).map(([name, share]) => `${name} ${share.toFixed(2)}`);
  return [
    table(
      ['one customer floods, another makes calls for one image', `${flood.join(', ')}, ${seconds} s`],
      [
        ['p50 / p95 alone', seconds95(alone)],
        ['p50 / p95 during the flood', seconds95(flooded)],
        [
          'refusals, alone and during the flood',
          `${describe(alone.refusals)}; ${describe(flooded.refusals)}`,
        ],
        ['how the flood was answered', answered.join('; ')],
        [
          'resident memory of the service, before and at most',
          `${rssMiB.before.toFixed(0)} / ${rssMiB.max.toFixed(0)} MiB`,
        ],
        ['cores used during the flood', shares.join(', ')],
      ],
    ),
    table(
      ['aim', 'measured', ''],
      [
        [
          `p95 at most ${P95_RATIO_MAX}x its own alone`,
          `${ratio.toFixed(2)}x`,
          verdict(ratio <= P95_RATIO_MAX),
        ],
        ['no refusal', `${refused}`, verdict(refused === 0)],
        [
          `memory under ${RSS_MB_MAX} MB (${RSS_MIB_MAX.toFixed(0)} MiB)`,
          `${rssMiB.max.toFixed(0)} MiB`,
          verdict(rssMiB.max < RSS_MIB_MAX),
        ],
      ],
    ),
  ].join('\n\n');
}

/** The books are examined when every call of the flood has ended, as its client did not wait for that. */
async function untilSettled(databaseUrl: string): Promise<void> {
  const running = `SELECT count(*)::int AS count FROM generations WHERE status = 'running'`;
  const endsAtMs = performance.now() + ANSWER_MS_MAX;
  await withClient(databaseUrl, async (client) => {
    for (;;) {
      const { rows } = await client.query<{ count: number }>(running);
      if (rows[0]?.count === 0) return;
      if (performance.now() > endsAtMs) throw new Error(`${rows[0]?.count} calls of the flood do not end`);
      await sleep(500);
    }
  });
}

const p95Of = ({ timesMs }: Calls): number => quantile(timesMs, 0.95);

function describe(refusals: Calls['refusals']): string {
  const all = Object.entries(refusals).map(([what, times]) => `${times} x ${what}`);
  return all.length === 0 ? 'none' : all.join(', ');
}

type Mutable = { readonly timesMs: number[]; readonly refusals: Record<string, number> };
type Ask = (calls: Mutable, until: () => boolean) => Promise<void>;

const noCalls = (): Mutable => ({ timesMs: [], refusals: {} });

async function callFor(seconds: number, ask: Ask): Promise<Calls> {
  const calls = noCalls();
  const endsAtMs = performance.now() + seconds * 1_000;
  await Promise.all(Array.from({ length: CALLERS }, () => ask(calls, () => performance.now() >= endsAtMs)));
  return calls;
}

/** A call that is refused counts with the time that it took as well: refusing fast must not look like being fast. */
async function callRepeatedly(pool: Pool, key: string, calls: Mutable, until: () => boolean): Promise<void> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  for (let index = 0; !until(); index += 1) {
    const body = JSON.stringify({ model: MODEL, prompt: `A brass vault ${index}`, size: '512x512' });
    const startedAtMs = performance.now();
    const answer = await pool.request({ path: '/v1/images/generations', method: 'POST', headers, body });
    const text = await answer.body.text();
    calls.timesMs.push(performance.now() - startedAtMs);
    if (answer.statusCode === 200) continue;
    const { error } = JSON.parse(text) as { error: { code: string } };
    const what = `${answer.statusCode} ${error.code}`;
    calls.refusals[what] = (calls.refusals[what] ?? 0) + 1;
  }
}

type Flood = { readonly kinds: readonly FloodKind[]; readonly dataDir: string; readonly cleanUp: CleanUp };

async function startFlood(service: Server, { kinds, dataDir, cleanUp }: Flood): Promise<Server> {
  const keys = [await makeAccountKey(service, FLOODING), await makeAccountKey(service, FLOODING)];
  return startSide('sides/flood.ts', cleanUp, {
    SERVICE_URL: service.url,
    KEYS: keys.join(' '),
    MODEL,
    FLOOD: kinds.join(','),
    MEDIA_DIR: join(dataDir, 'media'),
  });
}

/** What is answered at the end is the resident memory at the beginning and its maximum since, in MiB. */
function watchRss(pid: number, cleanUp: CleanUp): () => FairnessResult['rssMiB'] {
  const read = (): number =>
    Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1_024;
  const before = read();
  let max = before;
  const timer = setInterval(() => (max = Math.max(max, read())), RSS_EVERY_MS);
  const stop = (): void => clearInterval(timer);
  cleanUp.add(stop);
  return () => {
    stop();
    return { before, max };
  };
}
