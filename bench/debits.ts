import { HOT_WALLET, SPREAD_WALLETS } from './database.js';
import type { Service } from './service.js';
import { median, pgbench, wrk, type HttpLoad, type HttpResult } from './tools.js';

export type Measured = { readonly perSecond: number; readonly p50Ms?: number; readonly p99Ms?: number };
export type DebitResult = Readonly<Record<string, Measured>>;

/** A ledger of some size twice: behind the service, and as plain SQL keeps it. */
export type Subject = { readonly ledger: string; readonly service: Service; readonly plainUrl: string };

type Options = { readonly seconds: number; readonly rounds: number; readonly say: (text: string) => void };

const BATCH_ITEMS = 500;
const SPREAD = { first: 1, last: SPREAD_WALLETS };
const HOT = { first: HOT_WALLET, last: HOT_WALLET };

/**
 * Plain SQL and the service, on small ledgers and large ones, take turns, round after round, so that whatever else
 * the machine does falls on all of them; the median round counts. Answers a result a ledger.
 */
export async function measureDebits(
  subjects: readonly Subject[],
  { seconds, rounds, say }: Options,
): Promise<Record<string, DebitResult>> {
  // The service's code is compiled before anything is measured; pgbench needs no such time.
  for (const { service } of subjects) await warmUp(service);
  const results: Record<string, Record<string, Measured[]>> = {};
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, measure] of Object.entries(cases(seconds))) {
      for (const subject of subjects) {
        const measured = await measure(subject, `${Date.now()}-${round}`);
        const result = (results[subject.ledger] ??= {});
        (result[name] ??= []).push(measured);
        say(`round ${round}: ${subject.ledger}: ${name}: ${Math.round(measured.perSecond)}/s`);
      }
    }
  }
  return Object.fromEntries(Object.entries(results).map(([ledger, measured]) => [ledger, middles(measured)]));
}

function warmUp({ url, operatorKey }: Service): Promise<unknown> {
  const prefix = `w${Date.now()}`;
  return wrk(url, operatorKey, { script: 'load/debit.lua', ...SPREAD, connections: 64, seconds: 5, prefix });
}

type Case = (subject: Subject, prefix: string) => Promise<Measured>;

function cases(seconds: number): Record<string, Case> {
  const http =
    (load: Omit<HttpLoad, 'prefix' | 'seconds'>, read: (result: HttpResult) => Measured): Case =>
    ({ service }, prefix) =>
      wrk(service.url, service.operatorKey, { ...load, seconds, prefix }).then(read);
  const sql =
    (load: { first: number; last: number; clients: number }): Case =>
    ({ plainUrl }) =>
      pgbench(plainUrl, { ...load, seconds }).then((perSecond) => ({ perSecond }));
  const debit = { script: 'load/debit.lua' };
  const batch = { script: 'load/batch.lua', items: BATCH_ITEMS };
  return {
    'plain spread (16 clients)': sql({ clients: 16, ...SPREAD }),
    'http spread (64 connections)': http({ ...debit, connections: 64, ...SPREAD }, single),
    'http spread (16 connections)': http({ ...debit, connections: 16, ...SPREAD }, single),
    'plain hot (64 clients)': sql({ clients: 64, ...HOT }),
    'http hot (64 connections)': http({ ...debit, connections: 64, ...HOT }, single),
    'http batch of 500 (4 connections)': http({ ...batch, connections: 4, ...SPREAD }, batched),
  };
}

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

function middles(rows: Readonly<Record<string, Measured[]>>): DebitResult {
  return Object.fromEntries(Object.entries(rows).map(([name, measured]) => [name, middle(measured)]));
}

function middle(measured: readonly Measured[]): Measured {
  const target = median(measured.map((each) => each.perSecond));
  return measured.find((each) => each.perSecond === target) ?? { perSecond: Number.NaN };
}
