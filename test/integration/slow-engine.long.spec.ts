import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { DataSource } from 'typeorm';
import { newId } from '../../src/platform/common/ids.js';
import { micros } from '../../src/platform/common/money.js';
import type { Charge } from '../../src/gateway/images/calls/funding/funding.js';
import {
  WalletFundingService,
  type HeldGeneration,
} from '../../src/gateway/images/calls/funding/funding.service.js';
import { toHoldId } from '../../src/gateway/images/calls/records/generation.js';
import { freeGeneration } from '../fixtures/call-records.js';
import { aCustomer } from '../fixtures/customers.js';
import { sharedApp } from '../fixtures/shared-app.js';
import { CleanUp } from '../support/clean-up.js';
import { addCredit, createAccount, startEngine } from '../support/database/engine.js';
import { StoppedBatches } from '../support/database/stopped-batch.js';
import { createTestDatabase } from '../support/database/test-database.js';
import { holdUpMoney } from '../support/images/hold-up.js';

jest.setTimeout(60_000);

/** A COMMIT that adds a transfer takes this long. */
const SLOW_COMMITS = `
  CREATE FUNCTION sleep_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(5); RETURN NULL; END $$;
  CREATE CONSTRAINT TRIGGER sleep_at_commit AFTER INSERT ON transfers DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION sleep_at_commit()`;

describe('an image that is made', () => {
  const cleanUp = new CleanUp();
  let batches: StoppedBatches;
  let owner: DataSource;
  let process: Awaited<ReturnType<typeof startEngine>>;

  beforeAll(async () => {
    const database = await createTestDatabase();
    cleanUp.add(() => database.drop());
    batches = await StoppedBatches.install(database.url, cleanUp);
    process = await startEngine(database.url);
    cleanUp.add(() => process.dataSource.destroy());
    owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    cleanUp.add(() => owner.destroy());
  });
  afterAll(() => cleanUp.run());

  async function authorized(): Promise<{
    readonly accountId: string;
    readonly capture: () => Promise<Charge>;
  }> {
    const accountId = await createAccount(owner);
    await addCredit(process.engine, accountId, 400_000);
    const id = newId('generation');
    const generation: HeldGeneration = {
      ...freeGeneration(accountId),
      ...{ id, model: 'm/m', priceId: 'price_x', priceMicros: micros(40_000n), imagesRequested: 1 },
      ...{ holdId: toHoldId(id), providerKeyId: null },
    };
    const wallet = new WalletFundingService(process.engine);
    await wallet.authorize(generation, { actor: 'test', attempt: null, unlessOwnKeyAt: [] });
    return { accountId, capture: () => wallet.capture(generation, 1, 'test') };
  }

  async function expectOneCapture(accountId: string): Promise<void> {
    const captures = `SELECT amount_micros FROM transfers WHERE account_id = $1 AND reference LIKE 'capture:%'`;
    expect(await owner.query(captures, [accountId])).toEqual([{ amount_micros: '40000' }]);
  }

  it('waits about ten seconds for the server process that is stopped with its charge, and is charged once', async () => {
    const { accountId, capture } = await authorized();
    await batches.stop(accountId);
    const attempts = jest.spyOn(process.engine, 'execute');
    await expect(capture()).rejects.toMatchObject({ code: 'wallet_locked' });
    // Each waits for the wallet for two seconds. A fifth would be another five.
    expect(attempts.mock.calls.length).toBeLessThan(5);
    attempts.mockRestore();
    await batches.goOn(accountId);
    expect(await capture()).toMatchObject({ imagesPaid: 1, chargedMicros: 40_000n });
    await expectOneCapture(accountId);
  });

  it('is charged once, and delivered, while commits take five seconds', async () => {
    const { accountId, capture } = await authorized();
    await owner.query(SLOW_COMMITS);
    expect(await capture()).toMatchObject({ imagesPaid: 1, chargedMicros: 40_000n });
    await expectOneCapture(accountId);
  });
});

describe('an API key whose limit takes six seconds to be committed', () => {
  it('makes no key without that limit in the meantime', async () => {
    const app = await sharedApp();
    const customer = await aCustomer().withCredit('1.00').create();
    const made = await customer.client.post('/v1/api_keys', {
      name: 'k',
      scopes: ['generate', 'keys:write'],
    });
    const key = made.expect(201).body as { id: string; secret: string };
    const stalled = holdUpMoney(app);
    const limiting = app.operator.send('PATCH', `/v1/accounts/${customer.accountId}/api_keys/${key.id}`, {
      body: { spend_limits: { total_micros: '40000' } },
    });
    await stalled.reached;
    // Longer than transactions of the service may idle.
    await app.dataSource.query('SELECT pg_sleep(5.5)');
    const child = app.client(key.secret).post('/v1/api_keys', { name: 'child', scopes: ['generate'] });
    stalled.letGo();
    (await limiting).expect(200);
    (await child).expect(403);
  });
});
