import { Pool } from 'undici';
import { newId } from '../src/platform/common/ids.js';
import { micros } from '../src/platform/common/money.js';
import type { CleanUp } from './clean-up.js';
import { createLedger, creditOf, examine, startCluster, withClient, withEngine } from './ledgers.js';
import { startSandbox } from './sandbox.js';
import { makeAccountKey, startService, type Server } from './servers.js';

const MODEL = 'black-forest-labs/flux-2-klein-9b';
const IMAGE_MICROS = 40_000n;
const UPSTREAM_KEY = 'bfl_race_upstream_key';
/** The last of thousands of calls that are made at the same time waits for all others. */
const ANSWER_MS_MAX = 280_000;

export type Race = {
  readonly calls: number;
  readonly images: number;
  readonly dir: string;
  readonly cleanUp: CleanUp;
};
type Outcome = { delivered: number; refused: number; readonly other: string[] };
type Books = { readonly captures: number; readonly posted: string; readonly held: string };
export type RaceResult = Outcome & Books & { readonly calls: number; readonly seconds: number };

/**
 * Credit for exactly `images`, `calls` at the same time, two service processes. Throws unless exactly that many are
 * delivered and captured, and every other call is refused with 402.
 */
export async function raceForCredit({ calls, images, dir, cleanUp }: Race): Promise<RaceResult> {
  const cluster = await startCluster(dir, 'race', cleanUp);
  const ledger = await createLedger(cluster, 'bench_race', 1);
  const { url } = ledger;
  const upstream = await startSandbox(cleanUp);
  const env = {
    BFL_API_KEY: UPSTREAM_KEY,
    BFL_API_BASE: upstream.blackForestLabs,
    BFL_ACTIVE_TASKS_MAX: '1000',
  };
  const services: Server[] = [];
  for (let index = 0; index < 2; index += 1) {
    services.push(await startService(ledger, cleanUp, env));
  }
  const account = await makeAccount(url, BigInt(images) * IMAGE_MICROS);
  const key = await makeAccountKey(services[0] as Server, account);
  const startedAtMs = performance.now();
  const outcome = await callAll(services, key, calls);
  const seconds = (performance.now() - startedAtMs) / 1_000;
  const books = await readBooks(url, account);
  const result = { calls, seconds, ...outcome, ...books };
  const isKept =
    outcome.delivered === images &&
    outcome.refused === calls - images &&
    books.captures === images &&
    books.posted === '0' &&
    books.held === '0';
  if (!isKept) throw new Error(`the hard cap did not hold: ${JSON.stringify(result)}`);
  await examine(url);
  return result;
}

export function describeRace({
  calls,
  seconds,
  delivered,
  refused,
  captures,
  posted,
  held,
}: RaceResult): string {
  return (
    `Hard cap: ${calls} calls at once over two processes, credit for ${delivered}: ${delivered} delivered, ` +
    `${refused} refused with 402, ${captures} captures, balance ${posted}, held ${held}, ${seconds.toFixed(1)} s.`
  );
}

async function callAll(services: readonly Server[], key: string, calls: number): Promise<Outcome> {
  const connections = Math.ceil(calls / services.length);
  const pools = services.map(({ url }) => new Pool(url, { connections }));
  const outcome: Outcome = { delivered: 0, refused: 0, other: [] };
  const callOnce = async (index: number): Promise<void> => {
    const { statusCode, body } = await (pools[index % pools.length] as Pool).request({
      path: '/v1/images/generations',
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, prompt: `benchmark ${index % 16}`, size: '64x64' }),
      headersTimeout: ANSWER_MS_MAX,
      bodyTimeout: ANSWER_MS_MAX,
    });
    const text = await body.text();
    if (statusCode === 200) outcome.delivered += 1;
    else if (statusCode === 402 && text.includes('"insufficient_credits"')) outcome.refused += 1;
    else outcome.other.push(`${statusCode} ${text.slice(0, 200)}`);
  };
  try {
    await Promise.all(Array.from({ length: calls }, (_, index) => callOnce(index)));
    return outcome;
  } finally {
    await Promise.all(pools.map((pool) => pool.destroy()));
  }
}

async function makeAccount(url: string, credit: bigint): Promise<string> {
  const id = newId('account');
  await withEngine(url, async (engine, dataSource) => {
    await dataSource.query(`INSERT INTO accounts (id, name, created_at) VALUES ($1, 'Race', now())`, [id]);
    await engine.execute(creditOf(id, micros(credit)));
  });
  return id;
}

function readBooks(url: string, account: string): Promise<Books> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<Books>(
      `SELECT posted_micros AS posted, held_micros AS held,
              (SELECT count(*)::int FROM transfers t WHERE t.account_id = w.account_id AND kind = 'capture') AS captures
         FROM wallets w WHERE account_id = $1`,
      [account],
    );
    const [books] = rows;
    if (books === undefined) throw new Error('the racing account has no wallet');
    return books;
  });
}
