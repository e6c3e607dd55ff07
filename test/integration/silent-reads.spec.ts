import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { ModelCatalogService } from '../../src/gateway/catalog/model-catalog.service.js';
import { newId } from '../../src/platform/common/ids.js';
import { HealthService } from '../../src/platform/health/health.service.js';
import { ProviderKeyVaultService } from '../../src/gateway/provider-keys/provider-key-vault.service.js';
import { PriceBookService } from '../../src/money/pricing/price-book.service.js';
import { AccountLimitsService } from '../../src/identity/rate-limits/accounts/account-limits.service.js';
import { MODEL } from '../fixtures/images.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { CleanUp } from '../support/clean-up.js';
import { MutableProxy } from '../support/database/mutable-proxy.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';
import { eventually } from '../support/processes.js';

const cleanUp = new CleanUp();
let database: TestDatabase;
let proxy: MutableProxy;
let service: TestApp;
let customer: TestCustomer;

beforeAll(async () => {
  database = await createTestDatabase();
  cleanUp.add(() => database.drop());
  proxy = await MutableProxy.start(database.serviceUrl, cleanUp);
  service = await startTestApp({ databaseUrl: proxy.url });
  cleanUp.add(() => service.close());
  customer = await service.createCustomer();
});
afterAll(() => cleanUp.run());

/** What is known is too old to be used, and the connection that the next question goes over says nothing. */
function fallSilent(): void {
  service.clock.letPass(10_000);
  proxy.muteLastUsed();
}

describe('over a connection that is open and silent, what calls wait for together is read over another one:', () => {
  it('the provider keys of an account', async () => {
    const vault = service.app.get(ProviderKeyVaultService);
    const { accountId } = customer;
    expect(await vault.findLive(accountId)).toEqual([]);
    fallSilent();
    expect(await vault.findLive(accountId)).toEqual([]);
  });

  it('the limits of an account, as they are now', async () => {
    const limits = service.app.get(AccountLimitsService);
    const { accountId } = customer;
    expect(await limits.find(accountId)).toBeNull();
    await service.dataSource.query(
      `INSERT INTO account_limits (account_id, version, images_per_minute, reason, set_by, created_at)
       VALUES ($1, 1, 7, 'test', 'test', now())`,
      [accountId],
    );
    fallSilent();
    expect(await limits.find(accountId)).toMatchObject({ images: 7 });
  });

  it('the price book, as it is now', async () => {
    const book = service.app.get(PriceBookService);
    await book.requirePrice(MODEL);
    await service.dataSource.query(
      `INSERT INTO prices (id, model, version, unit, amount_micros, effective_from, created_at)
       VALUES ($1, $2, 2, 'image', 50000, now() - interval '1 hour', now())`,
      [newId('price'), MODEL],
    );
    fallSilent();
    expect((await book.requirePrice(MODEL)).amountMicros).toBe(50_000n);
  });

  it('the catalogue, as it is now', async () => {
    const catalog = service.app.get(ModelCatalogService);
    const version = (await catalog.current()).version + 1;
    const owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    await owner.query(
      `INSERT INTO catalog_versions (version, document, published_at, published_by)
       SELECT $1, jsonb_set(document, '{version}', to_jsonb($1::int)), now(), 'test'
         FROM catalog_versions ORDER BY version DESC LIMIT 1`,
      [version],
    );
    await owner.destroy();
    fallSilent();
    // The silent question itself is given up after 35 seconds, and the next one would notice it.
    await eventually(
      'the new version is noticed',
      async () => (await catalog.current()).version === version,
      20,
    );
  });

  it('whether this process is ready', async () => {
    const health = service.app.get(HealthService);
    expect(await health.readiness()).toMatchObject({ parts: { database: 'ok' } });
    fallSilent();
    expect(await health.readiness()).toMatchObject({ parts: { database: 'ok' } });
  });
});
