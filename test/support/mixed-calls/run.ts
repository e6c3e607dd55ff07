import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { findDiscrepancies } from '../../../src/finance/audit/examine-books.js';
import { verifyStream } from '../../../src/money/ledger/export/verify-export.js';
import type { SeededRandom } from '../seeded-random.js';
import { countOpenWork, readAccountBooks, readPrices, type AccountBooks } from './books.js';
import { Bystanders } from './bystanders.js';
import { MixedClients, type SeenAnswer, type Sighting } from './clients.js';
import { judgeAccount } from './judge.js';
import { inspectPictures } from './pictures.js';
import { planMixedCalls, type MixedPlan, type PlanOptions } from './plan.js';
import { makeCast, type CastAccount, type MixedStage } from './stage.js';
import { hearUpstream } from './upstream-witness.js';

export type MixedOptions = PlanOptions & {
  readonly random: SeededRandom;
  /** At the same time, over both services. */
  readonly clients: number;
  /** How long after the last answer nothing may be open any more: recovery's bound. */
  readonly settledWithinMs: number;
  /** Of the answered URLs, how many are fetched: one in so many. Every stored file is decoded. */
  readonly urlsOneIn: number;
  readonly say: (text: string) => void;
};

export type MixedReport = {
  /** What the judge found, in words; empty when everything is as it must be. */
  readonly faults: readonly string[];
  /** What the clients saw: `200 wallet`, `402 key_limit_reached`, `hung up` … with how often. */
  readonly outcomes: Readonly<Record<string, number>>;
  readonly requests: number;
  readonly seconds: number;
  readonly totals: Readonly<Record<string, number>>;
};

/** Lets random customers call at two services at once, and judges what is left when all is over. */
export async function runMixedCalls(stage: MixedStage, options: MixedOptions): Promise<MixedReport> {
  const plan = planMixedCalls(options.random, options);
  const cast = await makeCast(stage, plan, randomBytes(4).toString('hex'));
  const bystanders = new Bystanders(stage, plan, cast);
  const clients = new MixedClients(stage, plan, cast, (begun) => {
    if (begun > 0 && begun % PROGRESS_CALLS === 0)
      options.say(`${begun} of ${plan.calls.length} calls begun`);
    return bystanders.whenBegun(begun);
  });
  const startedAtMs = performance.now();
  try {
    await clients.run(options.clients);
    await bystanders.finish();
  } finally {
    await clients.close();
  }
  const seconds = (performance.now() - startedAtMs) / 1_000;
  options.say(`${clients.sightings.length} requests in ${seconds.toFixed(1)} s; judging`);
  const dataSource = await new DataSource({ type: 'postgres', url: stage.databaseUrl }).initialize();
  try {
    const ids = cast.map(({ id }) => id);
    const unsettled = await faultsOfUnsettled(dataSource, ids, options.settledWithinMs);
    const prices = await readPrices(dataSource);
    const { deeds } = bystanders;
    const all: Judged[] = [];
    const faults = [...unsettled];
    for (const [index, account] of cast.entries()) {
      const books = await readAccountBooks(dataSource, account.id);
      faults.push(
        ...judgeAccount(plan, index, account, { sightings: clients.sightings, books, deeds, prices }),
      );
      all.push({ account, books, seen: seenBy(clients.sightings, plan, index) });
    }
    faults.push(...(await hearUpstream(stage, plan, all)));
    const pictures = await inspectPictures(plan, stage.dataDir, all, options.urlsOneIn);
    faults.push(...pictures.faults, ...(await faultsOfExport(stage)));
    faults.push(...(await findDiscrepancies(dataSource)).map((found) => `doctor: ${JSON.stringify(found)}`));
    return {
      faults,
      outcomes: outcomesOf(clients.sightings),
      requests: clients.sightings.length,
      seconds,
      totals: { ...totalsOf(plan, all), decoded: pictures.decoded, fetched: pictures.fetched },
    };
  } finally {
    await dataSource.destroy();
  }
}

const PROGRESS_CALLS = 5_000;
const RECHECK_AFTER_MS = 100;

type Judged = {
  readonly account: CastAccount;
  readonly books: AccountBooks;
  readonly seen: ReadonlyMap<string, SeenAnswer>;
};

/** Calls of clients that hung up go on; the rest is recovery's. */
async function faultsOfUnsettled(
  dataSource: DataSource,
  accounts: readonly string[],
  withinMs: number,
): Promise<string[]> {
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    const open = await countOpenWork(dataSource, accounts);
    if (open === 0) return [];
    if (performance.now() > deadlineMs) return [`${open} calls and holds are open after ${withinMs} ms`];
    await sleep(RECHECK_AFTER_MS);
  }
}

function seenBy(
  sightings: readonly Sighting[],
  plan: MixedPlan,
  account: number,
): ReadonlyMap<string, SeenAnswer> {
  const seen = new Map<string, SeenAnswer>();
  for (const { call, answer } of sightings) {
    if (plan.calls[call]?.account !== account || answer?.status !== 200) continue;
    seen.set(String(answer.generationId), answer);
  }
  return seen;
}

/** The books as finance gets them, proved with nothing but the file. */
async function faultsOfExport({ serviceUrls, operatorKey }: MixedStage): Promise<string[]> {
  const headers = { authorization: `Bearer ${operatorKey}` };
  const answer = await fetch(`${serviceUrls[1]}/v1/exports/ledger?format=jsonl`, { headers });
  if (answer.status !== 200 || answer.body === null) return [`the export was answered ${answer.status}`];
  const verdict = await verifyStream(Readable.fromWeb(answer.body as never) as AsyncIterable<Buffer>);
  return verdict.ok ? [] : [`the export does not verify: ${JSON.stringify(verdict)}`];
}

function outcomesOf(sightings: readonly Sighting[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { answer } of sightings) {
    const mode = answer?.billingMode ?? '';
    const kind =
      answer?.isReplay === true ? 'replay' : (answer?.fellBackFrom ?? null) === null ? '' : 'fell back';
    const outcome =
      answer === null ? 'hung up' : [answer.status, answer.code ?? '', mode, kind].filter(Boolean).join(' ');
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function totalsOf(plan: MixedPlan, all: readonly Judged[]): Record<string, number> {
  const edits = new Set(plan.calls.filter(({ references }) => references > 0).map(({ name }) => name));
  const rows = all.flatMap(({ books }) => books.generations);
  const images = (isByok: boolean): number =>
    rows
      .filter(({ providerKeyId }) => (providerKeyId !== null) === isByok)
      .reduce((sum, { delivered }) => sum + delivered, 0);
  return {
    accounts: all.length,
    generations: rows.length,
    edits: rows.filter(({ name }) => edits.has(name)).length,
    imagesOverOurKey: images(false),
    imagesByok: images(true),
    holds: all.reduce((sum, { books }) => sum + books.holds.length, 0),
    transfers: all.reduce((sum, { books }) => sum + books.transfers.length, 0),
  };
}
