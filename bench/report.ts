import { addedP99Ms, IMAGE_CASES, verdictOf, type Bar } from './bars.js';
import { middle, ratioTo, type Results } from './measure.js';
import { median } from './statistics.js';

const DEBIT_CASES = {
  spread16: 'spread over 10,000 wallets, 16 connections',
  spread64: 'the same, 64 connections',
  spread256: 'the same, 256 connections',
  hot64: 'one hot wallet, 64 connections',
  batches: 'batches of 500, 4 connections',
  lone: 'a lone client',
  hold64: 'hold and capture, 64 connections',
} as const;

const SIDES: Readonly<Record<string, string>> = {
  coffer: 'Coffer over HTTP',
  plain: 'plain SQL on the same tables',
  lean: 'lean ledger in SQL',
  floor: 'bare handler',
  tigerbeetle: 'TigerBeetle with a bare handler',
};

/** Markdown. Of each side: what it does a second, and what that takes of the cores. */
export function debitTable(results: Results): string {
  const sides = Object.keys(SIDES).filter((side) => Object.values(results).some((of) => side in of));
  const rows = Object.entries(DEBIT_CASES).flatMap(([name, title]) => {
    if (results[name] === undefined) return [];
    const cells = sides.map((side) => debitCell(results, name, side));
    const ratios = (['plain', 'lean'] as const).map((side) => {
      const theirs = name === 'batches' ? 'spread64' : name;
      const cpu = ratioTo(results, name, side, 'cpu', theirs);
      const rate = ratioTo(results, name, side, 'rate', theirs);
      return cpu === undefined || rate === undefined ? '' : `${times(cpu)} (${times(rate)})`;
    });
    return [[title, ...cells, ...ratios]];
  });
  const heads = [
    ...sides.map((side) => SIDES[side] ?? side),
    'CPU (rate) to plain SQL',
    'to the lean ledger',
  ];
  return table(['case', ...heads], rows);
}

function debitCell(results: Results, name: string, side: string): string {
  const rate = middle(results, name, side, 'rate');
  const cpu = middle(results, name, side, 'cpu');
  if (rate === undefined || cpu === undefined) return '';
  const p50 = name === 'lone' ? `, p50 ${milliseconds(middle(results, name, side, 'p50'))}` : '';
  return `${count(rate)}/s, ${cpuText(results, name, side, (us) => `${us.toFixed(0)} µs`)}${p50}`;
}

/** "215 µs (service 142 µs, postgres 73 µs)"; without brackets where a side is a single process. */
function cpuText(results: Results, name: string, side: string, format: (micros: number) => string): string {
  const rounds = results[name]?.[side] ?? [];
  const parts = Object.keys(rounds[0]?.cpuMicros ?? {});
  if (parts.length === 0) return 'CPU not counted';
  const whole = format(middle(results, name, side, 'cpu') ?? Number.NaN);
  if (parts.length === 1) return whole;
  const each = parts.map((part) => {
    const micros = median(rounds.map(({ cpuMicros }) => cpuMicros[part] ?? Number.NaN));
    return `${part} ${format(micros)}`;
  });
  return `${whole} (${each.join(', ')})`;
}

/** Markdown. CPU and rate at saturation, the 99th percentile at half of it. */
export function imageTable(results: Results): string {
  const format = (us: number): string => milliseconds(us / 1_000);
  const cell = (name: string, side: string): string => {
    const rate = middle(results, name, side, 'rate');
    return rate === undefined ? '' : `${count(rate)}/s, ${cpuText(results, name, side, format)}`;
  };
  const half = (name: string, side: string): string => {
    const p99 = middle(results, `half ${name}`, side, 'p99');
    const rate = middle(results, `half ${name}`, side, 'rate');
    if (p99 === undefined || rate === undefined) return '';
    return `${milliseconds(p99)} at ${count(rate)}/s, added ${milliseconds(addedP99Ms(results, name, side))}`;
  };
  const calls = IMAGE_CASES.map(({ name, title }) => [
    title,
    cell(`calls ${name}`, 'coffer'),
    cell(`calls ${name}`, 'proxy'),
    times(ratioTo(results, `calls ${name}`, 'proxy', 'cpu')),
    half(name, 'coffer'),
    half(name, 'proxy'),
  ]);
  const fetches = ['jpeg', 'png'].map((kind) => [
    `fetching a stored ${kind.toUpperCase()}`,
    cell(`fetch ${kind}`, 'coffer'),
    cell(`fetch ${kind}`, 'proxy'),
    times(ratioTo(results, `fetch ${kind}`, 'proxy', 'cpu')),
    '',
    '',
  ]);
  const heads = ['case', 'Coffer', 'bare proxy', 'CPU', 'Coffer, p99 at half', 'bare proxy, p99 at half'];
  return table(heads, [...calls, ...fetches]);
}

/** Markdown: what was aimed at, and whether it was reached. */
export function barTable(bars: readonly Bar[]): string {
  const rows = bars.map((bar) => [
    bar.title,
    times(bar.value),
    `${bar.isAtMost ? 'at most' : 'at least'} ${bar.limit}x`,
    verdictOf(bar),
  ]);
  return table(['ratio', 'measured', 'aim', ''], rows);
}

export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n');
}

/**
 * Puts `content` between the two comments that name it in a Markdown document. Throws when they are not there: then the
 * table would be lost.
 */
export function replaceBetweenMarkers(document: string, name: string, content: string): string {
  const [begin, end] = [`<!-- bench:${name} -->`, `<!-- /bench:${name} -->`];
  const [from, to] = [document.indexOf(begin), document.indexOf(end)];
  if (from === -1 || to < from) throw new Error(`the document has no place for ${name}: ${begin} … ${end}`);
  return `${document.slice(0, from + begin.length)}\n\n${content.trim()}\n\n${document.slice(to)}`;
}

function times(ratio: number | undefined): string {
  if (ratio === undefined || Number.isNaN(ratio)) return '';
  return `${ratio.toFixed(ratio < 0.1 ? 3 : 2)}x`;
}

const count = (value: number): string => Math.round(value).toLocaleString('en-US');

function milliseconds(value: number | undefined): string {
  return value === undefined ? '' : `${value.toFixed(Math.abs(value) < 10 ? 2 : 0)} ms`;
}
