import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { newId } from '../../src/platform/common/ids.js';
import { SETTINGS, type Settings } from '../../src/platform/config/settings.js';
import { GenerationRecoveryService } from '../../src/gateway/images/calls/recovery/generation-recovery.service.js';
import { HoldSweepJob } from '../../src/money/wallets/hold-sweep.job.js';
import { LotExpiryJob } from '../../src/money/wallets/lot-expiry.job.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { aCustomer } from '../fixtures/customers.js';
import { balancesOf, generate, PRICE_MICROS } from '../fixtures/images.js';
import { sharedApp, sharedTwin } from '../fixtures/shared-app.js';
import { holdUpMoney } from '../support/images/hold-up.js';
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
afterEach(() => {
  for (const { clock } of [service, wrong]) clock.reset();
});
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

  it('ends no API key early, and makes none that lasts longer than it says', async () => {
    const customer = await aCustomer().create();
    const issue = async (hours: number): Promise<string> => {
      const expires_at = Math.floor(Date.now() / 1_000) + hours * 3_600;
      const body = { name: `for ${hours} hours`, scopes: ['wallet:read'], expires_at };
      return (await customer.client.post('/v1/api_keys', body)).expect(201).body.secret as string;
    };
    const day = await issue(12);
    (await wrong.client(day).get('/v1/wallet')).expect(200);
    wrong.clock.wrongByMs = -25 * HOUR_MS;
    const hour = await issue(1);
    service.clock.letPass(2 * HOUR_MS);
    wrong.clock.letPass(2 * HOUR_MS);
    (await wrong.client(hour).get('/v1/wallet')).expect(401);
  });

  it('charges no price before it is in force', async () => {
    const customer = await aCustomer().withCredit('1.00').create();
    const model = 'test/one-clock';
    const publish = `INSERT INTO prices (id, model, version, unit, amount_micros, effective_from, created_at)
      VALUES ($1, $2, $3, 'image', $4, now() + make_interval(hours => $5), now())`;
    const prices = [
      [1, 40_000, -1],
      [2, 90_000, 12],
    ] as const;
    for (const [version, amount, hours] of prices) {
      await service.dataSource.query(publish, [newId('price'), model, version, amount, hours]);
    }
    // The copy of the price list in its memory is too old to be used.
    wrong.clock.letPass(6_000);
    const body = { account: customer.accountId, reference: 'priced', model, images: 1 };
    (await wrong.operator.post('/v1/debits', body)).expect(201);
    expect(await balancesOf(customer)).toMatchObject({ posted: 960_000n });
  });

  it('keeps a hold for as long as it says', async () => {
    const customer = await aCustomer().withCredit('1.00').create();
    const body = {
      account: customer.accountId,
      reference: 'an-hour',
      amount_micros: '40000',
      expires_in_seconds: 3_600,
    };
    const { expires_at, created } = (await wrong.operator.post('/v1/holds', body)).expect(201).body as {
      expires_at: number;
      created: number;
    };
    expect(Math.abs(expires_at - created - 3_600)).toBeLessThanOrEqual(1);
  });

  it('takes no call for abandoned that another process has just begun', async () => {
    const customer = await aCustomer().withCredit('1.00').create();
    const holdUp = holdUpMoney(service);
    const call = generate({ client: customer.client }, {}, { 'idempotency-key': 'slow' });
    await holdUp.reached;
    // Its process is late to renew its lease, so that the other one looks at the call.
    await service.dataSource.query(
      `UPDATE generations SET lease_expires_at = now() - interval '1 second' WHERE account_id = $1`,
      [customer.accountId],
    );
    await wrong.app.get(GenerationRecoveryService).recoverDue();
    const [row] = await service.dataSource.query<{ status: string }[]>(
      'SELECT status FROM generations WHERE account_id = $1',
      [customer.accountId],
    );
    expect(['failed', 'succeeded']).not.toContain(row?.status);
    holdUp.letGo();
    (await call).expect(200);
  });
});
