import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { DataSource, EntityManager } from 'typeorm';
import { ModelCatalogService } from '../../src/gateway/catalog/model-catalog.service.js';
import { readCatalogFile } from '../../src/gateway/catalog/versions/catalog-file.js';
import { CatalogVersionEntity } from '../../src/gateway/catalog/versions/catalog-version.entity.js';
import { publishCatalog } from '../../src/gateway/catalog/versions/catalog-versions.js';
import { parseCatalog } from '../../src/gateway/catalog/versions/parse-catalog.js';
import { TransactionRunner } from '../../src/platform/database/transaction-runner.js';
import { startTestApp, type TestApp } from '../support/app/test-app.js';

const LEFT_OUT = 'black-forest-labs/flux-2-klein-4b';
const ADDED = 'black-forest-labs/added';

let service: TestApp;
let transactions: TransactionRunner;
beforeAll(async () => {
  service = await startTestApp({ blackForestLabs: true });
  transactions = service.app.get(TransactionRunner);
});
afterAll(() => service.close());

/** One model less and one more than the version before. */
async function publishNext(after: number): Promise<void> {
  const { document } = await readCatalogFile();
  const { models, ...rest } = document as { models: { id: string }[] };
  const [first, ...others] = models.filter(({ id }) => id !== LEFT_OUT);
  const next = { ...rest, version: after + 1, models: [first, ...others, { ...first, id: ADDED }] };
  const publication = { document: next, catalog: parseCatalog(next), after, publishedBy: 'test' };
  await transactions.run((tx) => publishCatalog(tx, { ...publication, nowMs: service.clock.nowMs() }));
}

/** A copy as a process of the service keeps it, and the database that it is read from, which answers as a test says. */
async function aCopy() {
  const rows = await service.dataSource.manager.find(CatalogVersionEntity, { order: { version: 'DESC' } });
  const database = { asked: 0, answer: (): Promise<CatalogVersionEntity[]> => Promise.resolve(rows) };
  const manager = Object.assign(Object.create(service.dataSource.manager) as EntityManager, {
    find: () => {
      database.asked += 1;
      return database.answer();
    },
  });
  const answering = Object.assign(Object.create(service.dataSource) as DataSource, { manager });
  const catalog = new ModelCatalogService(answering, transactions, service.clock, service.clock);
  await catalog.onModuleInit();
  database.asked = 0;
  return { current: () => catalog.current(), database };
}

describe('the catalogue in force', () => {
  it('is the published one for the first call after a quiet time: of a new model, and of one that was left out', async () => {
    const { client } = await service.createCustomer({ grantMicros: 1_000_000n });
    const call = (model: string) =>
      client.post('/v1/images/generations', { model, prompt: 'a fox', size: '64x64' });
    (await call(LEFT_OUT)).expect(200);

    await publishNext(1);
    service.clock.letPass(5_001);
    expect((await call(LEFT_OUT)).expect(404).body.error.code).toBe('model_not_found');

    await publishNext(2);
    service.clock.letPass(5_001);
    (await call(ADDED)).expect(200);
  });

  it('is read once for all calls that wait for it, and not again until it is two seconds old', async () => {
    const { current, database } = await aCopy();
    service.clock.stop();
    service.clock.letPass(5_001);
    await Promise.all(Array.from({ length: 50 }, current));
    service.clock.letPass(2_000);
    await current();
    expect(database.asked).toBe(1);
    service.clock.letPass(1);
    await current();
    expect(database.asked).toBe(2);
    service.clock.reset();
  });

  it('stays the last one read while the database is away, which is asked every two seconds and by one call', async () => {
    const { current, database } = await aCopy();
    const before = await current();
    service.clock.stop();
    service.clock.letPass(5_001);
    database.answer = () => Promise.reject(new Error('the database is away'));
    expect(await Promise.all([current(), current()])).toEqual([before, before]);
    service.clock.letPass(2_000);
    expect(await current()).toBe(before);
    expect(database.asked).toBe(1);
    service.clock.letPass(1);
    expect(await current()).toBe(before);
    expect(database.asked).toBe(2);
    service.clock.reset();
  });

  it('stays the last one read while the database gives no answer', async () => {
    const { current, database } = await aCopy();
    const before = await current();
    service.clock.letPass(5_001);
    database.answer = () => new Promise(() => undefined);
    expect(await current()).toBe(before);
  });
});
