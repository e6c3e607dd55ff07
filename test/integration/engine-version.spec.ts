import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { newId } from '../../src/platform/common/ids.js';
import { applicationDataSourceOptions } from '../../src/platform/database/data-source.js';
import { ENGINE_VERSION, ENGINE_VERSION_SETTING } from '../../src/platform/database/engine-version.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { generate } from '../fixtures/images.js';
import { asService } from '../support/database/test-database.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';

let app: TestApp;
let owner: DataSource;
let customer: TestCustomer;

beforeAll(async () => {
  app = await startTestApp({ blackForestLabs: true });
  owner = await new DataSource({ type: 'postgres', url: app.databaseUrl }).initialize();
  customer = await app.createCustomer({ grantMicros: 1_000_000n });
});
afterAll(async () => {
  await expectBooksToBalance(app.dataSource);
  await owner.destroy();
  await app.close();
});

/** As the migration of another version does it. */
async function requireVersion(version: number): Promise<void> {
  await owner.transaction(async (tx) => {
    await tx.query('LOCK TABLE wallets, holds, transfers IN SHARE ROW EXCLUSIVE MODE');
    await tx.query(
      `CREATE OR REPLACE FUNCTION required_engine_version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT ${version}'`,
    );
  });
}

async function moneyOf({ accountId }: TestCustomer): Promise<unknown> {
  return owner.query(
    `SELECT w.*, (SELECT count(*) FROM transfers t WHERE t.account_id = w.account_id) AS transfers,
            (SELECT count(*) FROM holds h WHERE h.account_id = w.account_id) AS holds,
            (SELECT sum(l.remaining_micros) FROM credit_lots l WHERE l.account_id = w.account_id) AS credit
       FROM wallets w WHERE w.account_id = $1`,
    [accountId],
  );
}

/** Readiness asks the database once a second. */
const READINESS_READ_AGAIN_MS = 1_001;

const debit = () =>
  app.operator.post('/v1/debits', {
    account: customer.accountId,
    amount_micros: '1000',
    reference: newId('request'),
  });

const refusedAsOld = { driverError: { constraint: 'engine_version_current' } };

describe('a process whose version is older than the database requires', () => {
  it('moves no money: it answers 503, nothing is written, and it is not ready; a current one goes on', async () => {
    (await debit()).expect(201);
    const before = await moneyOf(customer);
    await requireVersion(ENGINE_VERSION + 1);
    app.clock.letPass(READINESS_READ_AGAIN_MS);

    const refused = await debit();
    expect(refused.expect(503).body.error).toMatchObject({
      code: 'database_unavailable',
      message: expect.stringContaining('an older version than the ledger requires, so nothing was charged'),
    });
    const image = await generate(customer, { size: '64x64' });
    expect(image.expect(503).body.error).toMatchObject({ code: 'database_unavailable', charged_micros: '0' });
    expect((await app.client(null).get('/health/ready')).status).toBe(503);
    expect(await moneyOf(customer)).toEqual(before);

    await requireVersion(ENGINE_VERSION);
    app.clock.letPass(READINESS_READ_AGAIN_MS);
    (await debit()).expect(201);
    (await generate(customer, { size: '64x64' })).expect(200);
    expect((await app.client(null).get('/health/ready')).status).toBe(200);
  });
});

describe('a connection that names no version', () => {
  const statements = [
    'INSERT INTO transfers SELECT t.* FROM transfers t WHERE t.account_id = $1',
    'INSERT INTO holds SELECT h.* FROM holds h WHERE h.account_id = $1',
    `UPDATE holds SET status = 'voided', resolved_at = now() WHERE account_id = $1`,
    'UPDATE wallets SET posted_micros = posted_micros + 1 WHERE account_id = $1',
    'UPDATE wallets SET held_micros = 0 WHERE account_id = $1',
    `UPDATE wallets SET status = 'active' WHERE account_id = $1`,
  ];

  it.each(statements)('is taken for older than any, with the rights of the service: %s', async (sql) => {
    const older = await new DataSource(
      applicationDataSourceOptions(asService(app.databaseUrl), 1),
    ).initialize();
    try {
      await expect(older.query(sql, [customer.accountId])).rejects.toMatchObject(refusedAsOld);
    } finally {
      await older.destroy();
    }
  });

  it.each(statements)('is refused also as the owner: %s', async (sql) => {
    const attempt = owner.transaction(async (tx) => {
      await tx.query(`SET LOCAL ${ENGINE_VERSION_SETTING} = ''`);
      await tx.query(sql, [customer.accountId]);
    });
    await expect(attempt).rejects.toMatchObject(refusedAsOld);
  });
});

describe('the version of the engine', () => {
  it('is the same in the code and in the newest migration', async () => {
    expect(await owner.query('SELECT required_engine_version() AS version')).toEqual([
      { version: ENGINE_VERSION },
    ]);
  });
});
