import type { DebitResult } from './debits.js';
import type { GenerationResult } from './gateway.js';

/** Markdown, ready for docs/PERFORMANCE.md. */
export function debitTable(results: Readonly<Record<string, DebitResult>>): string {
  const lines = [
    '',
    '| ledger | what | debits/s | p50 | p99 | of plain SQL |',
    '|---|---|---:|---:|---:|---:|',
  ];
  for (const [ledger, result] of Object.entries(results)) {
    for (const [name, { perSecond, p50Ms, p99Ms }] of Object.entries(result)) {
      const base =
        result[name.includes('hot') ? 'plain hot (64 clients)' : 'plain spread (16 clients)']?.perSecond ??
        Number.NaN;
      const ratio = name.startsWith('plain') ? '' : `${(perSecond / base).toFixed(2)}x`;
      lines.push(
        `| ${ledger} | ${name} | ${Math.round(perSecond)} | ${ms(p50Ms)} | ${ms(p99Ms)} | ${ratio} |`,
      );
    }
    const hot = result['http hot (64 connections)']?.perSecond ?? Number.NaN;
    const spread = result['http spread (64 connections)']?.perSecond ?? Number.NaN;
    lines.push(`| ${ledger} | hot of spread, both over HTTP | | | | ${(hot / spread).toFixed(2)}x |`);
  }
  return lines.join('\n');
}

export function generationTable(results: Readonly<Record<string, GenerationResult>>): string {
  const lines = [
    '',
    '| ledger | upstream alone p50 / p99 | through the gateway p50 / p99 | added p50 / p99 |',
    '|---|---|---|---|',
  ];
  for (const [ledger, { upstream, gateway }] of Object.entries(results)) {
    lines.push(
      `| ${ledger} | ${ms(upstream.p50Ms)} / ${ms(upstream.p99Ms)} | ${ms(gateway.p50Ms)} / ${ms(gateway.p99Ms)} ` +
        `| ${ms(gateway.p50Ms - upstream.p50Ms)} / ${ms(gateway.p99Ms - upstream.p99Ms)} |`,
    );
  }
  return lines.join('\n');
}

function ms(value: number | undefined): string {
  return value === undefined ? '' : `${value.toFixed(1)} ms`;
}
