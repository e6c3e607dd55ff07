/**
 * `npm run bench`: measures, never asserts a time. Everything runs in one go on one Postgres, so the ratios
 * mean something where single numbers do not. It ends with the doctor and fails if the books are not clean.
 *
 *   npm run bench                    the whole run, about 15 minutes on two cores
 *   npm run bench -- --seconds 3 --rows 0   a quick look
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DataSource } from 'typeorm';
import { micros } from '../src/common/money.js';
import { startEmbeddedPostgres } from '../src/database/embedded/embedded-postgres.js';
import { findDiscrepancies } from '../src/finance/doctor/examine-books.js';
import { createLedger, fillLedger, fillPlainLedger } from './database.js';
import { measureDebits, type DebitResult } from './debits.js';
import {
  makeAccountKey,
  measureGeneration,
  raceForCredit,
  startGateway,
  startUpstream,
  type GenerationResult,
} from './gateway.js';
import { generationTable, debitTable } from './report.js';
import { makeRacingAccount } from './race.js';
import { startService } from './service.js';
import { requireTools } from './tools.js';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    rows: { type: 'string', default: '2000000' },
    calls: { type: 'string', default: '10000' },
    images: { type: 'string', default: '1000' },
    only: { type: 'string', default: 'debits,generation,race' },
    json: { type: 'string' },
  },
});

const say = (text: string): void => console.log(text);

async function run(): Promise<void> {
  await requireTools();
  const seconds = Number(values.seconds);
  const rounds = Number(values.rounds);
  const parts = new Set(values.only.split(','));
  const dataDir = await mkdtemp(join(tmpdir(), 'coffer-bench-'));
  const server = await startEmbeddedPostgres({ dataDir, log: () => undefined });
  const report: Record<string, unknown> = { node: process.version, cores: cpus().length };
  try {
    say(
      `Coffer benchmark: Node ${process.version}, ${cpus().length} cores, embedded PostgreSQL, durable commits`,
    );
    const ledger = await createLedger(server.url, 'bench_coffer');
    const plain = await createLedger(server.url, 'bench_plain');
    const sizes = Number(values.rows) > 0 ? ['empty', 'large'] : ['empty'];
    const debits: Record<string, DebitResult> = {};
    const generation: Record<string, GenerationResult> = {};
    for (const size of sizes) {
      if (size === 'large') {
        say(`Growing both ledgers to ${values.rows} rows`);
        await fillLedger(ledger, Number(values.rows));
        await fillPlainLedger(plain, Number(values.rows));
      }
      if (parts.has('debits')) debits[size] = await debitsOn(ledger, plain, seconds, rounds);
      if (parts.has('generation')) generation[size] = await generationOn(ledger, seconds);
    }
    Object.assign(report, { debits, generation });
    if (parts.has('race')) report['race'] = await race(ledger);
    say(debitTable(debits));
    say(generationTable(generation));
    await doctor(ledger);
  } finally {
    if (values.json !== undefined) await writeFile(values.json, JSON.stringify(report, null, 2));
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function debitsOn(
  ledger: string,
  plain: string,
  seconds: number,
  rounds: number,
): Promise<DebitResult> {
  const service = await startService(ledger);
  try {
    return await measureDebits({ service, plainUrl: plain, seconds, rounds, say });
  } finally {
    await service.stop();
  }
}

async function generationOn(ledger: string, seconds: number): Promise<GenerationResult> {
  const upstream = await startUpstream();
  const gateway = await startGateway(ledger, upstream);
  try {
    const result = await measureGeneration(gateway, upstream, {
      size: '512x512',
      seconds: Math.max(seconds, 5),
    });
    say(
      `generation: upstream p50 ${result.upstream.p50Ms.toFixed(1)} ms, through the gateway ${result.gateway.p50Ms.toFixed(1)} ms`,
    );
    return result;
  } finally {
    await gateway.stop();
    await upstream.stop();
  }
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
