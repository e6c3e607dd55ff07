/**
 * `npm run bench`: measures, never asserts a time. Everything runs in one go on one Postgres, so the ratios
 * mean something where single numbers do not. It ends with the doctor and fails if the books are not clean.
 *
 *   npm run bench                    the whole run, about 15 minutes on two cores
 *   npm run bench -- --seconds 3 --rows 0   a quick look
 *   npm run bench -- --only mixed    100,000 random mixed calls and their judge; `--mixed 10000` for fewer
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DataSource } from 'typeorm';
import { micros } from '../src/common/money.js';
import { startEmbeddedPostgres } from '../src/database/embedded/embedded-postgres.js';
import { findDiscrepancies } from '../src/finance/doctor/examine-books.js';
import { databaseServerIn } from '../test/support/service-process.js';
import { createLedger, fillLedger, fillPlainLedger } from './database.js';
import { measureDebits, type DebitResult } from './debits.js';
import {
  makeAccountKey,
  measureGeneration,
  raceForCredit,
  startGateway,
  startInstantUpstream,
  startUpstream,
  type GenerationResult,
} from './gateway.js';
import { describeMachine } from './machine.js';
import { measureMixedCalls } from './mixed.js';
import { generationTable, debitTable, webhookTable } from './report.js';
import { standBack } from './processes.js';
import { makeRacingAccount } from './race.js';
import { startService, type Service } from './service.js';
import { requireTools } from './tools.js';
import { measureWebhooks, type WebhookResult } from './webhooks.js';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    rows: { type: 'string', default: '2000000' },
    calls: { type: 'string', default: '10000' },
    images: { type: 'string', default: '1000' },
    mixed: { type: 'string', default: '100000' },
    'top-ups': { type: 'string', default: '50' },
    debits: { type: 'string', default: '500' },
    only: { type: 'string', default: 'debits,generation,webhooks,race' },
    json: { type: 'string' },
  },
});

const say = (text: string): void => console.log(text);

/** The same ledger twice on the measured server: Coffer's, and the one that plain SQL keeps. */
type Ledger = { readonly name: string; readonly url: string; readonly plainUrl: string };

async function run(): Promise<void> {
  await requireTools();
  const parts = new Set(values.only.split(','));
  const dataDir = await mkdtemp(join(tmpdir(), 'coffer-bench-'));
  // Services on two ledgers, and 64 clients of plain SQL beside them.
  const settings = { max_connections: '200' };
  const server = await startEmbeddedPostgres({ dataDir, settings, log: () => undefined });
  const report: Record<string, unknown> = { node: process.version, cores: cpus().length };
  try {
    say(
      `Coffer benchmark: Node ${process.version}, ${cpus().length} cores, embedded PostgreSQL, durable commits`,
    );
    const look = async (): Promise<void> => say(await describeMachine(dataDir));
    await look();
    const isAboutSize = ['debits', 'generation', 'webhooks'].some((part) => parts.has(part));
    const ledgers = await makeLedgers(server.url, isAboutSize ? Number(values.rows) : 0);
    const [small] = ledgers;
    if (small === undefined) throw new Error('there is no ledger to measure');
    if (parts.has('debits')) {
      const debits = await debitsOn(ledgers);
      report['debits'] = debits;
      say(debitTable(debits));
      await look();
    }
    const postmaster = await databaseServerIn(dataDir);
    if (['generation', 'webhooks'].some((part) => parts.has(part))) await standBack(postmaster);
    if (parts.has('generation')) {
      const generation = await generationOn(ledgers, postmaster);
      report['generation'] = generation;
      say(generationTable(generation));
      await look();
    }
    if (parts.has('webhooks')) {
      const webhooks = await webhooksOn(ledgers);
      report['webhooks'] = webhooks;
      say(webhookTable(webhooks));
    }
    if (parts.has('race')) report['race'] = await race(small.url);
    // Not among the default parts: it takes as long as all of them together.
    if (parts.has('mixed')) {
      report['mixed'] = await measureMixedCalls(small.url, Number(values.mixed), say);
    }
    for (const ledger of ledgers) await doctor(ledger.url);
  } finally {
    if (values.json !== undefined) await writeFile(values.json, JSON.stringify(report, null, 2));
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function makeLedgers(serverUrl: string, rows: number): Promise<Ledger[]> {
  const make = async (name: string, suffix: string): Promise<Ledger> => ({
    name,
    url: await createLedger(serverUrl, `bench_coffer_${suffix}`),
    plainUrl: await createLedger(serverUrl, `bench_plain_${suffix}`),
  });
  const small = await make('new', 'new');
  if (rows === 0) return [small];
  const large = await make(`${(rows / 1e6).toFixed(1)} M rows`, 'large');
  say(`Growing a second pair of ledgers to ${rows} rows`);
  await fillLedger(large.url, rows);
  await fillPlainLedger(large.plainUrl, rows);
  return [small, large];
}

async function debitsOn(ledgers: readonly Ledger[]): Promise<Record<string, DebitResult>> {
  const services = await Promise.all(ledgers.map(({ url }) => startService(url)));
  try {
    const subjects = ledgers.map(({ name, plainUrl }, index) => ({
      ledger: name,
      plainUrl,
      service: services[index] as Service,
    }));
    const options = { seconds: Number(values.seconds), rounds: Number(values.rounds), say };
    return await measureDebits(subjects, options);
  } finally {
    for (const service of services) await service.stop();
  }
}

async function generationOn(
  ledgers: readonly Ledger[],
  postmaster: number,
): Promise<Record<string, GenerationResult>> {
  const upstream = await startInstantUpstream();
  const services = new Map<string, Service>();
  try {
    for (const { name, url } of ledgers) services.set(name, await startGateway(url, upstream));
    const seconds = Math.max(Number(values.seconds), 5);
    return await measureGeneration(services, upstream, {
      size: '512x512',
      seconds,
      rounds: Number(values.rounds),
      postmaster,
    });
  } finally {
    for (const service of services.values()) await service.stop();
    await upstream.stop();
  }
}

/** Every second so many payments become credit, beside so many debits of others. */
function webhooksOn(ledgers: readonly Ledger[]): Promise<Record<string, WebhookResult>> {
  const load = {
    topUpsPerSecond: Number(values['top-ups']),
    debitsPerSecond: Number(values.debits),
    seconds: Number(values.seconds),
    rounds: Number(values.rounds),
  };
  return measureWebhooks(ledgers, load, say);
}

/** Credit for exactly `images`, `calls` at the same time, two service processes. */
async function race(ledger: string): Promise<unknown> {
  const images = Number(values.images);
  const calls = Number(values.calls);
  const account = await makeRacingAccount(ledger, micros(BigInt(images) * 40_000n));
  const upstream = await startUpstream();
  const services = [await startGateway(ledger, upstream), await startGateway(ledger, upstream)];
  try {
    const key = await makeAccountKey(services[0] as (typeof services)[number], account.id);
    const startedAt = performance.now();
    const result = await raceForCredit(services, key, calls);
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    const books = await account.books();
    say(
      `hard cap: ${calls} calls at once, 2 processes, credit for ${images}: ${result.delivered} delivered, ${result.refused} x 402, ` +
        `${result.other.length} other, ${books.captures} captures, balance ${books.posted}, held ${books.held} (${seconds} s)`,
    );
    const kept =
      result.delivered === images && result.refused === calls - images && books.captures === images;
    if (!kept || books.posted !== '0' || books.held !== '0') {
      throw new Error(`the hard cap did not hold: ${JSON.stringify({ ...result, books })}`);
    }
    return { calls, images, ...result, ...books };
  } finally {
    for (const service of services) await service.stop();
    await upstream.stop();
  }
}

async function doctor(url: string): Promise<void> {
  const dataSource = await new DataSource({ type: 'postgres', url }).initialize();
  try {
    const found = await findDiscrepancies(dataSource);
    if (found.length > 0) throw new Error(`the books are not clean: ${JSON.stringify(found.slice(0, 5))}`);
    say('doctor: clean');
  } finally {
    await dataSource.destroy();
  }
}

await run();
