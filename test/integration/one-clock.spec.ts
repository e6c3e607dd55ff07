import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { SETTINGS, type Settings } from '../../src/config/settings.js';
import { HoldSweepJob } from '../../src/wallets/hold-sweep.job.js';
import { LotExpiryJob } from '../../src/wallets/lot-expiry.job.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { balancesOf, generate, PRICE_MICROS } from '../fixtures/images.js';
import { sharedApp, sharedTwin } from '../fixtures/shared-app.js';
import type { TestApp } from '../support/app/test-app.js';

const HOUR_MS = 60 * 60_000;
const FREE_MODEL = 'black-forest-labs/flux-2-klein-4b';

let service: TestApp;
/** Another process of it, whose machine's clock is more than a day ahead. */
let wrong: TestApp;
beforeAll(async () => {
  [service, wrong] = await Promise.all([sharedApp(), sharedTwin()]);
});
beforeEach(() => {
  wrong.clock.wrongByMs = 25 * HOUR_MS;
});
afterEach(() => wrong.clock.reset());
afterAll(() => expectBooksToBalance(service.dataSource));

describe('a process whose clock is wrong', () => {
  it('is not ready, and the others are', async () => {
    const refused = (await wrong.client(null).get('/health/ready')).expect(503).body;
    expect(refused.parts).toMatchObject({ database: 'ok', engine: 'ok', clock: 'unavailable' });
    (await service.client(null).get('/health/ready')).expect(200);
    wrong.clock.wrongByMs = -3_000;
    (await wrong.client(null).get('/health/ready')).expect(503);
  });

  it('spends no second day of what a key may spend', async () => {
    const customer = await aCustomer().withCredit('1.00').create();
    const limited = {
      name: 'limited',
      scopes: ['generate'],
      spend_limits: { day_micros: `${PRICE_MICROS}` },
    };
    const key = (await customer.client.post('/v1/api_keys', limited)).expect(201).body;
    (await generate({ client: service.client(key.secret) })).expect(200);
    const refused = await generate({ client: wrong.client(key.secret) });
    expect(refused.expect(402).body.error.code).toBe('key_limit_reached');
  });

  it('takes no credit before it lapses, and dates no row into the future', async () => {
    const customer = await aCustomer().create();
    const expires_at = Math.floor((Date.now() + 12 * HOUR_MS) / 1_000);
    const grant = { amount_micros: '100000', reason: 'until tomorrow', expires_at };
    (await service.operator.post(`/v1/accounts/${customer.accountId}/grants`, grant)).expect(201);
    await wrong.app.get(LotExpiryJob).run();
    (await generate({ client: wrong.client(customer.apiKey) })).expect(200);
    expect(await balancesOf(customer)).toMatchObject({ posted: 100_000n - PRICE_MICROS });
    const ahead = await service.dataSource.query<unknown[]>(
      `SELECT FROM transfers WHERE account_id = $1 AND created_at > clock_timestamp()`,
      [customer.accountId],
    );
    expect(ahead).toHaveLength(0);
  });

  it('releases no hold before its time', async () => {
    const customer = await aCustomer().withCredit('1.00').create();
    const body = { account: customer.accountId, reference: 'kept', amount_micros: '40000' };
    const { id } = (await service.operator.post('/v1/holds', body)).expect(201).body;
    await wrong.app.get(HoldSweepJob).run();
    const capture = await service.operator.post(`/v1/holds/${id}/capture`, { amount_micros: '40000' });
    expect(capture.expect(200).body.status).toBe('captured');
  });

  it('says with the time of the database when an export was made', async () => {
    const file = (await wrong.operator.get('/v1/exports/ledger?format=jsonl')).expect(200).body as string;
    const { exported_at } = JSON.parse(file.trim().split('\n').at(-1) ?? '') as { exported_at: string };
    expect(Date.parse(exported_at)).toBeLessThanOrEqual(Date.now() + HOUR_MS);
  });

  it('makes no second day of free images', async () => {
    const settings = [service, wrong].map(({ app }) => app.get<Settings>(SETTINGS));
    const max = settings[0]?.freeImagesPerDay;
    for (const each of settings) Object.assign(each, { freeImagesPerDay: 1 });
    try {
      const customer = await aCustomer().create();
      const makeOne = (app: TestApp) =>
        generate({ client: app.client(customer.apiKey) }, { model: FREE_MODEL });
      (await makeOne(service)).expect(200);
      const refused = (await makeOne(wrong)).expect(429).body;
      expect(refused.error.code).toBe('free_images_used_up');
    } finally {
      for (const each of settings) Object.assign(each, { freeImagesPerDay: max });
    }
  });
});
