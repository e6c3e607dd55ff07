import { Writable } from 'node:stream';
import { pino } from 'pino';
import { publishCatalog } from '../../../src/gateway/catalog/versions/catalog-versions.js';
import { readCatalogFile } from '../../../src/gateway/catalog/versions/catalog-file.js';
import { parseCatalog } from '../../../src/gateway/catalog/versions/parse-catalog.js';
import type { OpenAiCompatibleSettings } from '../../../src/platform/config/settings.js';
import { TransactionRunner } from '../../../src/platform/database/transaction-runner.js';
import type { ProviderName } from '../../../src/gateway/images/providers/image-provider.js';
import { generate, setLimits } from '../../fixtures/images.js';
import { eventually } from '../processes.js';
import { ScriptedUpstream } from './scripted-upstream.js';
import { startTestApp, type TestApp, type TestCustomer } from '../app/test-app.js';
import type { TestAnswer } from '../app/test-client.js';

export const KEYS: Readonly<Record<ProviderName, string>> = {
  black_forest_labs: 'bfl_key_of_the_house_1f2e3d',
  cloudflare_workers_ai: 'cf_token_of_the_house_4c5b6a',
  openai_compatible: 'oai_key_of_the_house_7a8b9c',
};
/** What the catalogue of the stage says that an image costs us there. */
export const LISTED_COST_MICROS = '15000';

const ROUTES: Readonly<Record<ProviderName, Record<string, string>>> = {
  black_forest_labs: { provider: 'black_forest_labs', upstream_model: 'flux-2-klein-9b' },
  cloudflare_workers_ai: {
    provider: 'cloudflare_workers_ai',
    upstream_model: '@cf/black-forest-labs/flux-2-klein-9b',
    cost_micros: LISTED_COST_MICROS,
  },
  openai_compatible: { provider: 'openai_compatible', upstream_model: 'klein-9b' },
};

/** The model whose images are asked of these providers, in this order. */
function modelOver(...providers: readonly ProviderName[]): string {
  return `black-forest-labs/over-${providers.join('-').replaceAll('_', '.')}`;
}

export type Attempt = {
  readonly position: number;
  readonly attempt: number;
  readonly provider: string;
  readonly status: string;
  readonly failure: string | null;
  readonly upstream_cost_micros: string | null;
};

/** Whatever fails on a stage fails on purpose. */
export const NO_BREAKER = { failuresMax: 1_000_000, failingForMs: 0, openMs: 0, openMaxMs: 0, probeMs: 0 };

export type ProviderStage = {
  readonly service: TestApp;
  readonly upstream: ScriptedUpstream;
  /** Every line that the service logged, at the finest level. */
  readonly logged: () => string;
  /** An image of 256 x 256 pixels, of the model over these providers. */
  call(
    customer: TestCustomer,
    providers: readonly ProviderName[],
    body?: Record<string, unknown>,
  ): Promise<TestAnswer>;
  /** Of one call, or of all calls of an account; what is written after an answer may not be there yet. */
  attemptsOf(customer: TestCustomer, call?: TestAnswer): Promise<Attempt[]>;
  close(): Promise<void>;
};

/** The service over all three providers, which behave as a test sets them to, with a model for each of these orders. */
export async function startProviderStage(
  orders: readonly (readonly ProviderName[])[],
  compatible: (upstream: ScriptedUpstream) => Partial<OpenAiCompatibleSettings> = () => ({}),
): Promise<ProviderStage> {
  const upstream = await ScriptedUpstream.start();
  const lines: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  const service = await startTestApp({
    log: pino({ level: 'trace' }, sink),
    settings: {
      blackForestLabs: {
        apiKey: KEYS.black_forest_labs,
        apiBase: new URL(upstream.base),
        activeTasksMax: 24,
      },
      cloudflare: {
        accountId: 'acct0',
        apiToken: KEYS.cloudflare_workers_ai,
        apiBase: new URL(upstream.base),
      },
      openAiCompatible: {
        apiKey: KEYS.openai_compatible,
        apiBase: new URL('/compatible/v1', upstream.base),
        headers: {},
        resultHosts: [],
        ...compatible(upstream),
      },
    },
  });
  // Long enough to wait out one refusal, and short for a test.
  setLimits(service, { saturationWaitMs: 600, fallThroughWaitMs: 100, circuit: NO_BREAKER });
  await publishModels(service, orders);
  const close = async (): Promise<void> => {
    await service.close();
    await upstream.close();
  };
  return {
    service,
    upstream,
    logged: () => lines.join(''),
    call: (customer, providers, body = {}) =>
      generate(customer, { model: modelOver(...providers), size: '256x256', ...body }),
    attemptsOf: ({ accountId }, call) =>
      service.dataSource.query<Attempt[]>(
        `SELECT position, attempt, provider, status, failure, upstream_cost_micros FROM generation_tasks
          WHERE account_id = $1 AND ($2::text IS NULL OR generation_id = $2)
          ORDER BY generation_id, position, attempt`,
        [accountId, call?.headers.get('x-generation-id') ?? null],
      ),
    close,
  };
}

async function publishModels(service: TestApp, orders: readonly (readonly ProviderName[])[]): Promise<void> {
  const { document, catalog } = await readCatalogFile();
  const { models, ...rest } = document as { models: Record<string, unknown>[] };
  const staged = orders.map((providers) => ({
    ...models[0],
    id: modelOver(...providers),
    routes: providers.map((name) => ROUTES[name]),
  }));
  const next = { ...rest, version: catalog.version + 1, models: [...models, ...staged] };
  const publication = { document: next, catalog: parseCatalog(next), after: catalog.version };
  await service.app
    .get(TransactionRunner)
    .run((tx) => publishCatalog(tx, { ...publication, publishedBy: 'test', nowMs: Date.now() }));
  await untilListed(service, staged.at(-1)?.id ?? '');
}

/** A running service notices a new version within seconds. */
async function untilListed(service: TestApp, id: string): Promise<void> {
  const { client } = await service.createCustomer();
  await eventually('the models are published', async () => {
    const { body } = (await client.get('/v1/models')).expect(200);
    return body.data.some((model: { id: string }) => model.id === id);
  });
}
