import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import {
  CatalogRefusedError,
  publishCatalog,
  readCatalogVersion,
  readNewestCatalog,
} from '../../src/gateway/catalog/versions/catalog-versions.js';
import { parseCatalog } from '../../src/gateway/catalog/versions/parse-catalog.js';
import { eventually } from '../support/processes.js';
import { runCli } from '../support/process/run-cli.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

const PAID = 'black-forest-labs/flux-2-klein-9b';
const FREE = 'black-forest-labs/flux-2-klein-4b';

type Json = Record<string, unknown>;
const { document: SOURCE } = await readCatalogFile();

/** The bundled file as another version, changed a little. */
function documentOf(version: number, change: (models: Json[]) => void = () => undefined): Json {
  const document = structuredClone(SOURCE) as Json & { models: Json[] };
  change(document.models);
  return { ...document, version };
}

let service: TestApp;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
});
afterAll(() => service.close());

function publish(document: Json, after: number | null): Promise<void> {
  const publication = {
    document,
    catalog: parseCatalog(document),
    after,
    publishedBy: 'test',
    nowMs: Date.now(),
  };
  return service.app.get(TransactionRunner).run((tx) => publishCatalog(tx, publication));
}

/** The service reads the catalogue again when a request finds its copy two seconds old, concurrently with that request. */
function untilNoticed(isNoticed: () => Promise<boolean>): Promise<void> {
  service.clock.letPass(2_001);
  return eventually('the running service notices the new version', isNoticed);
}

const pricesShown = async (): Promise<Record<string, string>> => {
  const { body } = (await service.client(null).get('/v1/catalog/models')).expect(200);
  return Object.fromEntries(
    body.data.map((model: { id: string; price_micros: string }) => [model.id, model.price_micros]),
  );
};

const versionShown = async (): Promise<number> =>
  (await service.client(null).get('/v1/catalog/models')).expect(200).body.version;

describe('a new database', () => {
  it('gets the models of this release as version 1, published by the system', async () => {
    const rows = await service.dataSource.query<Json[]>('SELECT version, published_by FROM catalog_versions');
    expect(rows).toEqual([{ version: 1, published_by: 'system' }]);
  });

  it('offers, lists and prices the very same models: none is routed without a price, none priced without a route', async () => {
    const { client } = await service.createCustomer();
    const offered = (await client.get('/v1/models'))
      .expect(200)
      .body.data.map(({ id }: { id: string }) => id);
    const booked = await service.dataSource.query<{ model: string }[]>('SELECT DISTINCT model FROM prices');
    const file = parseCatalog(SOURCE).models.map(({ id, priceMicros }) => [id, String(priceMicros)]);
    expect(Object.entries(await pricesShown())).toEqual(file);
    expect(offered).toEqual(file.map(([id]) => id));
    expect(booked.map(({ model }) => model).sort()).toEqual(file.map(([id]) => id).sort());
  });

  it('charges for each model what its page says', async () => {
    const customer = await service.createCustomer({ grantMicros: 1_000_000n });
    for (const [model, price] of Object.entries(await pricesShown())) {
      const answer = await customer.client.post('/v1/images/generations', {
        model,
        prompt: 'a fox',
        size: '64x64',
      });
      expect({ model, charged: answer.expect(200).headers.get('x-charged-micros') }).toEqual({
        model,
        charged: price,
      });
      const shown = price === '0' ? 'Free' : '$0.04 per image';
      expect(String((await service.client(null).get(`/models/${model}`)).expect(200).body)).toContain(shown);
    }
  });
});

describe('a free model', () => {
  const body = { model: FREE, prompt: 'a fox', size: '64x64' };

  it('needs no credit and touches no wallet: no hold, no transfer, and a receipt all the same', async () => {
    const { accountId, client } = await service.createCustomer();
    const answer = (await client.post('/v1/images/generations', { ...body, n: 3 })).expect(200);
    expect(answer.body.data).toHaveLength(3);
    expect(answer.headers.get('x-charged-micros')).toBe('0');
    const [rows] = await service.dataSource.query<Json[]>(
      `SELECT (SELECT count(*)::int FROM transfers WHERE account_id = $1) AS transfers,
              (SELECT count(*)::int FROM holds WHERE account_id = $1) AS holds`,
      [accountId],
    );
    expect(rows).toEqual({ transfers: 0, holds: 0 });
    const receipt = await client.get(`/v1/generations/${answer.headers.get('x-generation-id') ?? ''}`);
    expect(receipt.expect(200).body).toMatchObject({ model: FREE, images_delivered: 3, charged_micros: '0' });
  });

  it('makes no more images a day than an account may have, and answers a repeated call all the same', async () => {
    const { client } = await service.createCustomer();
    const headers = { 'idempotency-key': 'the-first' };
    const first = (await client.post('/v1/images/generations', { ...body, n: 10 }, headers)).expect(200);
    for (let calls = 0; calls < 4; calls += 1)
      (await client.post('/v1/images/generations', { ...body, n: 10 })).expect(200);
    const refused = (await client.post('/v1/images/generations', body)).expect(429);
    expect(refused.body.error).toMatchObject({ code: 'free_images_used_up', max: 50, used: 50 });
    expect(refused.headers.get('x-should-retry')).toBe('false');
    const again = (await client.post('/v1/images/generations', { ...body, n: 10 }, headers)).expect(200);
    expect(again.body).toEqual(first.body);
  });

  it('stops an account after six calls a minute, over all its keys, and says when to come back', async () => {
    const { accountId, client } = await service.createCustomer({ grantMicros: 1_000_000n });
    const key = await service.operator.post(`/v1/accounts/${accountId}/api_keys`, {
      name: 'second',
      scopes: ['generate'],
    });
    const second = service.client(String(key.expect(201).body.secret));
    const calls = Array.from({ length: 12 }, (_, index) =>
      (index % 2 === 0 ? client : second).post('/v1/images/generations', body),
    );
    const answers = await Promise.all(calls);
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(6);
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused).toHaveLength(6);
    for (const { headers, body: refusal } of refused) {
      expect(refusal.error).toMatchObject({ code: 'rate_limit_exceeded', type: 'rate_limit_error' });
      expect(Number(headers.get('retry-after'))).toBeGreaterThan(0);
      expect(Number(headers.get('retry-after'))).toBeLessThanOrEqual(60);
    }
    // The paid model is another matter.
    (await client.post('/v1/images/generations', { ...body, model: PAID })).expect(200);
  });
});

describe('a published version', () => {
  it('is never changed or removed, not even by the owner of the table', async () => {
    for (const sql of [
      'UPDATE catalog_versions SET version = 9',
      'DELETE FROM catalog_versions',
      'TRUNCATE catalog_versions',
    ]) {
      await expect(service.dataSource.query(sql)).rejects.toThrow(/permission denied|stay as they are/);
      await expect(withOwner((owner) => owner.query(sql))).rejects.toThrow(/stay as they are/);
    }
  });

  it('is noticed by the running service, with its price, and the old one stays readable', async () => {
    const cheaper = documentOf(2, ([paid]) =>
      Object.assign(paid as Json, { price_micros: '30000', name: 'Cheaper' }),
    );
    await publish(cheaper, 1);
    // Models and prices are read at moments of their own, each within seconds.
    await untilNoticed(async () => (await pricesShown())[PAID] === '30000' && (await versionShown()) === 2);
    expect(String((await service.client(null).get(`/models/${PAID}`)).body)).toContain('Cheaper');
    const { client } = await service.createCustomer({ grantMicros: 1_000_000n });
    const answer = await client.post('/v1/images/generations', {
      model: PAID,
      prompt: 'a fox',
      size: '64x64',
    });
    expect(answer.expect(200).headers.get('x-charged-micros')).toBe('30000');
    const versions = service.app.get(TransactionRunner).run(async (tx) => ({
      first: await readCatalogVersion(tx, 1),
      newest: await readNewestCatalog(tx),
      none: await readCatalogVersion(tx, 77),
    }));
    expect(await versions).toEqual({
      first: parseCatalog(SOURCE),
      newest: parseCatalog(cheaper),
      none: null,
    });
  });

  it('takes a model out of service when it leaves it out: calls of it are a 404', async () => {
    await publish(
      documentOf(3, (models) => models.pop()),
      2,
    );
    await untilNoticed(async () => !(FREE in (await pricesShown())));
    const { client } = await service.createCustomer();
    const answer = await client.post('/v1/images/generations', {
      model: FREE,
      prompt: 'a fox',
      size: '64x64',
    });
    expect(answer.expect(404).body.error.code).toBe('model_not_found');
    (await service.client(null).get(`/models/${FREE}`)).expect(404);
    await publish(documentOf(4), 3);
    await untilNoticed(async () => FREE in (await pricesShown()));
    (await client.post('/v1/images/generations', { model: FREE, prompt: 'a fox', size: '64x64' })).expect(
      200,
    );
  });

  it('wins alone when several are published at once; the others are refused and leave neither version nor price', async () => {
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, (_, index) =>
        publish(
          documentOf(5, ([paid]) => Object.assign(paid as Json, { price_micros: String(50_000 + index) })),
          4,
        ),
      ),
    );
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(CatalogRefusedError);
    }
    const newest = await service.app.get(TransactionRunner).run((tx) => readNewestCatalog(tx));
    const booked = await service.dataSource.query<{ amount_micros: string }[]>(
      'SELECT amount_micros FROM prices WHERE model = $1 AND amount_micros >= 50000',
      [PAID],
    );
    expect(booked.map((row) => row.amount_micros)).toEqual([String(newest?.models[0]?.priceMicros)]);
  });
});

describe('coffer catalog', () => {
  const run = (...args: string[]) => runCli(['catalog', ...args, '--database-url', service.databaseUrl]);
  const write = async (name: string, content: unknown): Promise<string> => {
    const file = path.join(service.settings.dataDir, name);
    await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content));
    return file;
  };
  const newest = async (): Promise<number> => {
    const catalog = await service.app.get(TransactionRunner).run((tx) => readNewestCatalog(tx));
    return catalog?.version ?? 0;
  };

  it('shows the difference and changes nothing; asks, and without a terminal refuses to go on', async () => {
    const before = await newest();
    const file = await write(
      'next.json',
      documentOf(before + 1, ([paid]) => Object.assign(paid as Json, { tagline: 'New.' })),
    );
    const diff = await run('diff', file);
    expect(diff).toMatchObject({ status: 1, stderr: '' });
    expect(diff.stdout).toContain(`~ ${PAID} tagline: Photorealistic images`);
    const apply = await run('apply', file);
    expect(apply.status).toBe(2);
    expect(apply.stderr).toContain('--yes');
    expect(await newest()).toBe(before);
  });

  it('publishes with --yes, once: the same file again changes nothing', async () => {
    const wanted = (await newest()) + 1;
    const file = await write(
      'next.json',
      documentOf(wanted, ([paid]) => Object.assign(paid as Json, { tagline: 'New.' })),
    );
    const applied = await run('apply', file, '--yes');
    expect(applied).toMatchObject({ status: 0, stderr: '' });
    expect(applied.stdout).toContain(`Version ${wanted} is in force.`);
    expect(await newest()).toBe(wanted);
    const [event] = (await service.operator.get('/v1/audit_log?act=catalog.published')).expect(200).body.data;
    expect(event).toMatchObject({
      actor: expect.stringMatching(/^cli:./),
      after: { changes: expect.any(Number) },
    });
    expect(await run('apply', file, '--yes')).toMatchObject({
      status: 0,
      stdout: expect.stringContaining('Nothing differs'),
    });
    expect(await run('diff', file)).toMatchObject({ status: 0 });
  });

  it('refuses an older or equal version with another content: a forgotten file must not take prices back', async () => {
    const before = await newest();
    for (const version of [1, before]) {
      const file = await write(
        'old.json',
        documentOf(version, ([paid]) => Object.assign(paid as Json, { price_micros: '1' })),
      );
      const { status, stderr } = await run('apply', file, '--yes');
      expect({ status, stderr }).toEqual({
        status: 2,
        stderr: expect.stringContaining('is not above version'),
      });
    }
    expect(await newest()).toBe(before);
    expect((await pricesShown())[PAID]).not.toBe('1');
  });

  it.each([
    ['no JSON', '{"version": 2,'],
    ['a catalogue with a fault', { version: 99, makers: [], models: [] }],
    ['another document', ['not', 'a', 'catalogue']],
  ])('refuses %s and names what is wrong', async (_what, content) => {
    const before = await newest();
    const { status, stderr } = await run('apply', await write('garbage.json', content), '--yes');
    expect(status).toBe(2);
    expect(stderr).toMatch(/is not valid JSON|this is not a valid catalogue:\n {2}\S+ /);
    expect(await newest()).toBe(before);
  });

  it('refuses a file that is not there, and words that it does not know', async () => {
    expect(await run('apply', '/nowhere.json', '--yes')).toMatchObject({ status: 2 });
    expect(await run('publish')).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('catalog diff'),
    });
  });
});

async function withOwner<T>(
  work: (owner: { query(sql: string): Promise<unknown> }) => Promise<T>,
): Promise<T> {
  const { default: pg } = await import('pg');
  const owner = new pg.Client({ connectionString: service.databaseUrl });
  await owner.connect();
  try {
    return await work(owner);
  } finally {
    await owner.end();
  }
}
