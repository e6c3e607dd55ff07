import { HOT_WALLET, SPREAD_WALLETS } from './database.js';
import type { Service } from './service.js';
import { median, pgbench, wrk, type HttpLoad, type HttpResult } from './tools.js';

export type Measured = { readonly perSecond: number; readonly p50Ms?: number; readonly p99Ms?: number };
export type DebitResult = Readonly<Record<string, Measured>>;

type Options = {
  readonly service: Service;
  readonly plainUrl: string;
  readonly seconds: number;
  readonly rounds: number;
  readonly say: (text: string) => void;
};

const BATCH_ITEMS = 500;

/**
 * Plain SQL and the service take turns, round after round, so that whatever else the machine does falls on
 * both; the median round counts.
 */
export async function measureDebits({
  service,
  plainUrl,
  seconds,
  rounds,
  say,
}: Options): Promise<DebitResult> {
  const spread = { first: 1, last: SPREAD_WALLETS };
  const hot = { first: HOT_WALLET, last: HOT_WALLET };
  const http = (load: Omit<HttpLoad, 'prefix' | 'seconds'>, prefix: string) =>
    wrk(service.url, service.operatorKey, { ...load, seconds, prefix });
  // The service's code is compiled before anything is measured; pgbench needs no such time.
  await wrk(service.url, service.operatorKey, {
    script: 'load/debit.lua',
    ...spread,
    connections: 64,
    seconds: 5,
    prefix: `w${Date.now()}`,
  });
  const cases: Record<string, (round: string) => Promise<Measured>> = {
    'plain spread (16 clients)': () => pgbench(plainUrl, { clients: 16, ...spread, seconds }).then(plain),
    'http spread (64 connections)': (round) =>
      http({ script: 'load/debit.lua', connections: 64, ...spread }, round).then(single),
    'http spread (16 connections)': (round) =>
      http({ script: 'load/debit.lua', connections: 16, ...spread }, round).then(single),
    'plain hot (64 clients)': () => pgbench(plainUrl, { clients: 64, ...hot, seconds }).then(plain),
    'http hot (64 connections)': (round) =>
      http({ script: 'load/debit.lua', connections: 64, ...hot }, round).then(single),
    'http batch of 500 (4 connections)': (round) =>
      http({ script: 'load/batch.lua', connections: 4, items: BATCH_ITEMS, ...spread }, round).then(batched),
  };
  const rows: Record<string, Measured[]> = {};
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, measure] of Object.entries(cases)) {
      const measured = await measure(`${Date.now()}-${round}`);
      (rows[name] ??= []).push(measured);
      say(`round ${round}: ${name}: ${Math.round(measured.perSecond)}/s`);
    }
  }
  return Object.fromEntries(Object.entries(rows).map(([name, measured]) => [name, middle(measured)]));
}

const plain = (perSecond: number): Measured => ({ perSecond });
const single = ({ requestsPerSecond, p50Ms, p99Ms }: HttpResult): Measured => ({
  perSecond: requestsPerSecond,
  p50Ms,
  p99Ms,
});
const batched = ({ requestsPerSecond, p50Ms, p99Ms }: HttpResult): Measured => ({
  perSecond: requestsPerSecond * BATCH_ITEMS,
  p50Ms,
  p99Ms,
});

function middle(measured: readonly Measured[]): Measured {
  const target = median(measured.map((each) => each.perSecond));
  return measured.find((each) => each.perSecond === target) ?? { perSecond: Number.NaN };
}
