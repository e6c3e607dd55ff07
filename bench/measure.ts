import { cpuMsOf } from './cpu.js';
import { median, medianRatio } from './statistics.js';
import type { LoadResult, Window } from './tools.js';

/** The processes of a side by what they are ("service", "postgres"), each with all that descends from it. */
export type Parts = Readonly<Record<string, number>>;

/** One side in one case of one round. */
export type Measured = {
  readonly calls: number;
  readonly perSecond: number;
  /** Microseconds of CPU a successful call, by part. */
  readonly cpuMicros: Readonly<Record<string, number>>;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
};

/** By case, then by side; one entry a round. */
export type Results = Record<string, Record<string, Measured[]>>;

export type Load = (window: Window) => Promise<LoadResult>;

/** Puts a load on a side and measures the CPU time of its processes during it, without the load's own processes. */
export async function measureTurn(parts: Parts, load: Load): Promise<Measured> {
  const read = (): number[] => Object.values(parts).map(cpuMsOf);
  let before: number[] = [];
  let after: number[] = [];
  const result = await load({ opened: () => (before = read()), closed: () => (after = read()) });
  if (result.calls === 0) throw new Error('not a single call succeeded');
  const cpuMicros = Object.keys(parts).map((part, index) => {
    const ms = (after[index] ?? Number.NaN) - (before[index] ?? Number.NaN);
    return [part, (ms * 1_000) / result.calls] as const;
  });
  return { ...result, cpuMicros: Object.fromEntries(cpuMicros) };
}

export function record(results: Results, name: string, side: string, measured: Measured): void {
  ((results[name] ??= {})[side] ??= []).push(measured);
}

export type Metric = 'cpu' | 'rate' | 'p50' | 'p99';

export function valueOf(measured: Measured, metric: Metric): number {
  switch (metric) {
    case 'cpu':
      return Object.values(measured.cpuMicros).reduce((sum, micros) => sum + micros, 0);
    case 'rate':
      return measured.perSecond;
    case 'p50':
      return measured.p50Ms ?? Number.NaN;
    case 'p99':
      return measured.p99Ms ?? Number.NaN;
  }
}

/** The median round of a side; undefined where it was not measured. */
export function middle(results: Results, name: string, side: string, metric: Metric): number | undefined {
  const rounds = results[name]?.[side];
  return rounds && median(rounds.map((measured) => valueOf(measured, metric)));
}

/** How Coffer compares with another side, in the same case or in one of theirs; undefined where one was not measured. */
export function ratioTo(
  results: Results,
  name: string,
  side: string,
  metric: Metric,
  theirName = name,
): number | undefined {
  const [ours, theirs] = [results[name]?.['coffer'], results[theirName]?.[side]];
  if (ours === undefined || theirs === undefined) return undefined;
  const values = [ours, theirs].map((rounds) => rounds.map((measured) => valueOf(measured, metric)));
  return medianRatio(values[0] ?? [], values[1] ?? []);
}
