import type { DebitResult } from './debits.js';
import type { GenerationResult } from './gateway.js';
import type { Latencies } from './open-loop.js';
import { median } from './tools.js';
import type { WebhookResult, WebhookRound } from './webhooks.js';

/** Markdown, ready for docs/PERFORMANCE.md. The last column compares with the first ledger, the small one. */
export function debitTable(results: Readonly<Record<string, DebitResult>>): string {
  const lines = [
    '',
    '| ledger | what | debits/s | p50 | p99 | of plain SQL | of the same on the small ledger |',
    '|---|---|---:|---:|---:|---:|---:|',
  ];
  const [small] = Object.values(results);
  for (const [ledger, result] of Object.entries(results)) {
    const rate = (name: string) => result[name]?.perSecond ?? Number.NaN;
    for (const [name, { perSecond, p50Ms, p99Ms }] of Object.entries(result)) {
      const base = rate(name.includes('hot') ? 'plain hot (64 clients)' : 'plain spread (16 clients)');
      const ofPlain = name.startsWith('plain') ? '' : times(perSecond / base);
      const ofSmall = result === small ? '' : times(perSecond / (small?.[name]?.perSecond ?? Number.NaN));
      lines.push(
        `| ${ledger} | ${name} | ${Math.round(perSecond)} | ${ms(p50Ms)} | ${ms(p99Ms)} | ${ofPlain} | ${ofSmall} |`,
      );
    }
    const hotOfSpread = rate('http hot (64 connections)') / rate('http spread (64 connections)');
    lines.push(`| ${ledger} | hot of spread, both over HTTP | | | | ${times(hotOfSpread)} | |`);
  }
  return lines.join('\n');
}

/** Medians of the rounds; "added" is the median of what each round added to the upstream's round before it. */
export function generationTable(results: Readonly<Record<string, GenerationResult>>): string {
  const lines = [
    '',
    '| ledger | upstream alone p50 / p99 | through the gateway p50 / p99 | added p50 / p99 | CPU a call: gateway, Postgres | added, every round |',
    '|---|---|---|---|---|---|',
  ];
  for (const [ledger, { upstream, gateway, effort }] of Object.entries(results)) {
    const pair = (rounds: readonly Latencies[]) =>
      `${ms(median(rounds.map(({ p50Ms }) => p50Ms)))} / ${ms(median(rounds.map(({ p99Ms }) => p99Ms)))}`;
    const added = gateway.map(({ p50Ms, p99Ms, calls }, round) => ({
      p50Ms: p50Ms - (upstream[round]?.p50Ms ?? Number.NaN),
      p99Ms: p99Ms - (upstream[round]?.p99Ms ?? Number.NaN),
      calls,
    }));
    const every = added.map(({ p50Ms, p99Ms }) => `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(1)}`).join(', ');
    const cpu = [effort.map(({ gatewayMs }) => gatewayMs), effort.map(({ postgresMs }) => postgresMs)]
      .map((rounds) => `${median(rounds).toFixed(2)} ms`)
      .join(', ');
    lines.push(`| ${ledger} | ${pair(upstream)} | ${pair(gateway)} | ${pair(added)} | ${cpu} | ${every} |`);
  }
  return lines.join('\n');
}

/** Medians of the rounds; the last column keeps every round of the one that has an aim. */
export function webhookTable(results: Readonly<Record<string, WebhookResult>>): string {
  const lines = [
    '',
    '| ledger | top-ups/s | debits/s | webhook answered p50 / p99 | credit spent p50 / p99 | other debits p50 / p99 | credit spent, every round |',
    '|---|---:|---:|---|---|---|---|',
  ];
  for (const [ledger, { load, rounds }] of Object.entries(results)) {
    const pair = (of: (round: WebhookRound) => Latencies) =>
      `${ms(median(rounds.map((round) => of(round).p50Ms)))} / ${ms(median(rounds.map((round) => of(round).p99Ms)))}`;
    const every = rounds
      .map(({ spent }) => `${spent.p50Ms.toFixed(1)} / ${spent.p99Ms.toFixed(1)}`)
      .join(', ');
    lines.push(
      `| ${ledger} | ${load.topUpsPerSecond} | ${load.debitsPerSecond} | ${pair(({ acknowledged }) => acknowledged)} | ` +
        `${pair(({ spent }) => spent)} | ${pair(({ debits }) => debits)} | ${every} |`,
    );
  }
  return lines.join('\n');
}

const times = (ratio: number): string => `${ratio.toFixed(2)}x`;

function ms(value: number | undefined): string {
  return value === undefined ? '' : `${value.toFixed(1)} ms`;
}
