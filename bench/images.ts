import { readFile } from 'node:fs/promises';
import { DataSource } from 'typeorm';
import { parseCatalog } from '../src/gateway/catalog/versions/parse-catalog.js';
import { CATALOG_FILE } from '../src/gateway/catalog/versions/catalog-file.js';
import { CATALOG_ENTITIES, publishCatalog } from '../src/gateway/catalog/versions/catalog-versions.js';
import { applicationDataSourceOptions } from '../src/platform/database/data-source.js';
import { TransactionRunner } from '../src/platform/database/transaction-runner.js';
import type { CleanUp } from './clean-up.js';
import { createLedger, examine, startCluster, withClient } from './ledgers.js';
import { measureTurn, record, type Measured, type Parts, type Results } from './measure.js';
import { makeAccountKey, startService, startSide, type Server } from './servers.js';
import { wrk } from './tools.js';
import { accountId } from './wallets.js';

export type ImageOptions = {
  readonly seconds: number;
  readonly rounds: number;
  readonly dir: string;
  readonly cleanUp: CleanUp;
  readonly say: (text: string) => void;
};

const MODEL = 'black-forest-labs/flux-2-klein-9b';
export const UPSTREAM_KEY = 'oai_benchmark_upstream_key';
/** As many customers as connections. */
const CUSTOMERS = 16;
const SATURATING_CONNECTIONS = 16;
/** Far more than are answered at the same time at half of saturation, so that no call waits for a connection. */
const PAUSING_CONNECTIONS = 64;
const WARM_UP_SECONDS = 4;

const FORMATS = ['jpeg', 'png'] as const;
const RESPONSE_FORMATS = ['b64_json', 'url'] as const;
type Format = (typeof FORMATS)[number];
type ResponseFormat = (typeof RESPONSE_FORMATS)[number];

type Side = { readonly url: string; readonly parts: Parts; readonly keys: readonly string[] };

/** How a case of a format is called in the results. */
export const caseName = (
  kind: 'calls' | 'half' | 'fetch',
  format: Format,
  answer: ResponseFormat | '' = '',
) => [kind, format, answer].filter(Boolean).join(' ');

/**
 * Image calls through the service and through a bare proxy, over an upstream that answers at once, in turns: at saturation for
 * CPU and rate, then at half of what each side has just shown, for latencies.
 */
export async function measureImages(options: ImageOptions): Promise<Results> {
  const { rounds, say } = options;
  const { sides, upstream, proveBooks } = await openSides(options);
  say('images: warming up');
  for (const side of Object.values(sides)) {
    for (const format of FORMATS) await saturate(side, format, 'b64_json', WARM_UP_SECONDS / FORMATS.length);
  }
  const results: Results = {};
  for (let round = 1; round <= rounds; round += 1) {
    const keep = (name: string, side: string, measured: Measured): void => {
      record(results, name, side, measured);
      const cpu = Object.entries(measured.cpuMicros).map(([part, us]) => `${part} ${(us / 1e3).toFixed(2)}`);
      say(
        `round ${round}: ${name}: ${side}: ${measured.perSecond.toFixed(0)}/s, ${cpu.join(' + ')} ms of CPU, ` +
          `p99 ${measured.p99Ms?.toFixed(1)} ms`,
      );
    };
    for (const format of FORMATS) {
      for (const answer of RESPONSE_FORMATS) {
        await measureCalls({ sides, format, answer, options, keep });
      }
      await measureUpstream({ sides, upstream, format, options, keep, results });
      for (const [name, side] of Object.entries(sides)) {
        keep(caseName('fetch', format), name, await fetchImages(side, format, options.seconds));
      }
    }
  }
  await proveBooks();
  say(`images: ${options.seconds} s a turn, ${rounds} rounds; the books agree`);
  return results;
}

type Keep = (name: string, side: string, measured: Measured) => void;

async function measureCalls({
  sides,
  format,
  answer,
  options: { seconds },
  keep,
}: {
  sides: Readonly<Record<string, Side>>;
  format: Format;
  answer: ResponseFormat;
  options: ImageOptions;
  keep: Keep;
}): Promise<void> {
  const saturated: Record<string, number> = {};
  for (const [name, side] of Object.entries(sides)) {
    const measured = await saturate(side, format, answer, seconds);
    saturated[name] = measured.perSecond;
    keep(caseName('calls', format, answer), name, measured);
  }
  for (const [name, side] of Object.entries(sides)) {
    const perSecond = (saturated[name] ?? Number.NaN) / 2;
    keep(caseName('half', format, answer), name, await callAtRate(side, format, answer, perSecond, seconds));
  }
}

/** What the upstream and the load generator take by themselves, at the rate of the faster side. */
async function measureUpstream({
  sides,
  upstream,
  format,
  options: { seconds },
  keep,
  results,
}: {
  sides: Readonly<Record<string, Side>>;
  upstream: Side;
  format: Format;
  options: ImageOptions;
  keep: Keep;
  results: Results;
}): Promise<void> {
  const rates = Object.keys(sides).map(
    (name) => results[caseName('half', format, 'b64_json')]?.[name]?.at(-1)?.perSecond ?? 0,
  );
  const measured = await callAtRate(upstream, format, 'b64_json', Math.max(...rates), seconds);
  keep(caseName('half', format, 'b64_json'), 'upstream', measured);
}

function saturate(side: Side, format: Format, answer: ResponseFormat, seconds: number): Promise<Measured> {
  const env = loadEnv(side, format, answer, 0);
  const load = { script: 'load/image.lua', connections: SATURATING_CONNECTIONS, seconds, env };
  return measureTurn(side.parts, (window) => wrk(side.url, load, window));
}

function callAtRate(
  side: Side,
  format: Format,
  answer: ResponseFormat,
  perSecond: number,
  seconds: number,
): Promise<Measured> {
  const env = loadEnv(side, format, answer, (PAUSING_CONNECTIONS * 1_000) / perSecond);
  const load = { script: 'load/image.lua', connections: PAUSING_CONNECTIONS, seconds, env };
  return measureTurn(side.parts, (window) => wrk(side.url, load, window));
}

async function fetchImages(side: Side, format: Format, seconds: number): Promise<Measured> {
  const answer = await fetch(`${side.url}/v1/images/generations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${side.keys[0]}`, 'content-type': 'application/json' },
    body: bodyOf(format, 'url'),
    signal: AbortSignal.timeout(30_000),
  });
  const { data } = (await answer.json()) as { data: { url: string }[] };
  const { pathname, search } = new URL(data[0]?.url ?? '');
  const env = { GET_PATH: pathname + search };
  const load = { script: 'load/get.lua', connections: SATURATING_CONNECTIONS, seconds, env };
  return measureTurn(side.parts, (window) => wrk(side.url, load, window));
}

function loadEnv(
  side: Side,
  format: Format,
  answer: ResponseFormat,
  pauseMs: number,
): Record<string, string> {
  return { KEYS: side.keys.join(' '), BODY: bodyOf(format, answer), PAUSE_MS: `${pauseMs}` };
}

/** The upstream answers in the format that the prompt ends with, as the client asks for it. */
export const bodyOf = (format: Format, answer: ResponseFormat): string =>
  JSON.stringify({
    model: MODEL,
    prompt: `A red fox in the snow, golden hour, ${format}`,
    n: 1,
    size: '1024x1024',
    response_format: answer,
    output_format: format,
  });

async function openSides({ dir, cleanUp, say }: ImageOptions) {
  say('images: preparing a database server, an upstream and a bare proxy');
  const cluster = await startCluster(dir, 'images', cleanUp);
  const ledger = await createLedger(cluster, 'bench_images', CUSTOMERS);
  await publishRoute(ledger.url);
  const upstream = await startSide('sides/instant-upstream.ts', cleanUp);
  const base = `${upstream.url}/v1`;
  const service = await startService(ledger, cleanUp, {
    OPENAI_COMPATIBLE_API_KEY: UPSTREAM_KEY,
    OPENAI_COMPATIBLE_API_BASE: base,
  });
  const keys = await makeKeys(service);
  const proxy = await startSide('sides/bare-proxy.ts', cleanUp, {
    UPSTREAM_BASE: base,
    UPSTREAM_KEY,
    KEYS: keys.join(' '),
    MEDIA_DIR: `${dir}/proxy`,
  });
  const proveBooks = async (): Promise<void> => {
    await examine(ledger.url);
    await refuseOpenCalls(ledger.url);
  };
  const sides: Record<string, Side> = {
    coffer: { url: service.url, parts: { service: service.pid, postgres: cluster.pid }, keys },
    proxy: { url: proxy.url, parts: { service: proxy.pid }, keys },
  };
  return { sides, upstream: { url: upstream.url, parts: { service: upstream.pid }, keys }, proveBooks };
}

function makeKeys(service: Server): Promise<string[]> {
  const accounts = Array.from({ length: CUSTOMERS }, (_, index) => accountId(index + 1));
  return Promise.all(accounts.map((account) => makeAccountKey(service, account)));
}

/** The model's only route leads to a server that speaks OpenAI's images API. */
export async function publishRoute(url: string): Promise<void> {
  const shipped = JSON.parse(await readFile(CATALOG_FILE, 'utf8')) as { models: Record<string, unknown>[] };
  const routes = [{ provider: 'openai_compatible', upstream_model: 'klein-9b' }];
  const models = shipped.models.map((model) => (model['id'] === MODEL ? { ...model, routes } : model));
  const document = { ...shipped, models };
  const dataSource = new DataSource({ ...applicationDataSourceOptions(url, 1), entities: CATALOG_ENTITIES });
  await dataSource.initialize();
  try {
    const publication = { document, catalog: parseCatalog(document), after: null };
    await new TransactionRunner(dataSource, 1).run((tx) =>
      publishCatalog(tx, { ...publication, publishedBy: 'benchmark', nowMs: Date.now() }),
    );
  } finally {
    await dataSource.destroy();
  }
}

/** Every call that was started has delivered its one image; a call that failed would have been cheaper than one that did not. */
async function refuseOpenCalls(url: string): Promise<void> {
  const calls = await withClient(url, async (client) => {
    const { rows } = await client.query<{ status: string; calls: number }>(
      'SELECT status, count(*)::int AS calls FROM generations GROUP BY status',
    );
    return rows;
  });
  const failed = calls.filter(({ status }) => status !== 'succeeded');
  if (calls.length === 0 || failed.length > 0) throw new Error(`image calls: ${JSON.stringify(calls)}`);
}
