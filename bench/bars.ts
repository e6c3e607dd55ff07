import { middle, ratioTo, type Results } from './measure.js';

/** What the benchmark is to show: a ratio of ours to another side's, and its limit. */
export type Bar = {
  readonly title: string;
  readonly limit: number;
  readonly isAtMost: boolean;
  /** Undefined when one of its sides was not measured; NaN when it cannot be determined. */
  readonly value: number | undefined;
};

export type Verdict = 'reached' | 'not reached' | 'not measured';

export function verdictOf({ value, limit, isAtMost }: Bar): Verdict {
  if (value === undefined || Number.isNaN(value)) return 'not measured';
  return (isAtMost ? value <= limit : value >= limit) ? 'reached' : 'not reached';
}

/** CPU counts on every machine; rates only on a quiet one. */
const AGAINST_PLAIN = [
  { name: 'spread64', title: '64 connections', cpu: 0.36, rate: 1.6 },
  { name: 'spread16', title: '16 connections', cpu: 0.7, rate: 0.9 },
  { name: 'spread256', title: '256 connections', cpu: 0.33, rate: 1.8 },
  { name: 'hot64', title: 'one hot wallet, 64 connections', cpu: 0.055, rate: 12 },
  // SQL has no batches of its own: compared are its debits over 64 connections.
  { name: 'batches', title: 'batches of 500, 4 connections', cpu: 0.18, rate: 3.5, theirs: 'spread64' },
  { name: 'hold64', title: 'hold and capture, 64 connections', cpu: 0.45, rate: 1.2 },
] as const;

export function debitBars(results: Results): Bar[] {
  const plain = AGAINST_PLAIN.flatMap(({ name, title, cpu, rate, ...rest }) => {
    const theirs = 'theirs' in rest ? rest.theirs : name;
    return [
      atMost(`${title}: CPU against plain SQL`, ratioTo(results, name, 'plain', 'cpu', theirs), cpu),
      atLeast(`${title}: rate against plain SQL`, ratioTo(results, name, 'plain', 'rate', theirs), rate),
    ];
  });
  return [
    ...plain,
    atMost('64 connections: CPU against the lean ledger', ratioTo(results, 'spread64', 'lean', 'cpu'), 0.62),
    atMost('16 connections: CPU against the lean ledger', ratioTo(results, 'spread16', 'lean', 'cpu'), 1.15),
    atMost('a lone client: p50 against the lean ledger', ratioTo(results, 'lone', 'lean', 'p50'), 2),
  ];
}

export const IMAGE_CASES = [
  { name: 'jpeg b64_json', title: 'JPEG as b64_json', cpu: 2 },
  { name: 'jpeg url', title: 'JPEG as url', cpu: 2.5 },
  { name: 'png b64_json', title: 'PNG as b64_json', cpu: 2.5 },
  { name: 'png url', title: 'PNG as url', cpu: 2.5 },
] as const;
const ADDED_P99_MAX = 5;

export function imageBars(results: Results): Bar[] {
  return IMAGE_CASES.flatMap(({ name, title, cpu }) => [
    atMost(`${title}: CPU against the bare proxy`, ratioTo(results, `calls ${name}`, 'proxy', 'cpu'), cpu),
    atMost(`${title}: p99 added against the bare proxy`, addedRatio(results, name), ADDED_P99_MAX),
  ]);
}

/** What a side adds to the upstream's own 99th percentile, at half of its saturation, in milliseconds. */
export function addedP99Ms(results: Results, name: string, side: string): number | undefined {
  const [format = ''] = name.split(' ');
  const whole = middle(results, `half ${name}`, side, 'p99');
  const upstream = middle(results, `half ${format} b64_json`, 'upstream', 'p99');
  return whole === undefined || upstream === undefined ? undefined : whole - upstream;
}

function addedRatio(results: Results, name: string): number | undefined {
  const [ours, theirs] = ['coffer', 'proxy'].map((side) => addedP99Ms(results, name, side));
  if (ours === undefined || theirs === undefined) return undefined;
  // The upstream had its slowest moment while it was asked directly: a proxy that adds less than this cannot be measured.
  return theirs > 0 ? ours / theirs : Number.NaN;
}

const atMost = (title: string, value: number | undefined, limit: number): Bar => ({
  title,
  value,
  limit,
  isAtMost: true,
});
const atLeast = (title: string, value: number | undefined, limit: number): Bar => ({
  title,
  value,
  limit,
  isAtMost: false,
});
