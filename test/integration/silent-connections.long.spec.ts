import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { AuditLog } from '../../src/identity/audit-log/audit-log.service.js';
import {
  applicationDataSourceOptions,
  READ_AGAIN_AFTER_MS,
  readRows,
  ReadRepeatingDataSource,
} from '../../src/platform/database/data-source.js';
import { SpendingCheckService } from '../../src/money/wallets/spending-check.service.js';
import { WalletReaderService } from '../../src/money/wallets/wallet-reader.service.js';
import { micros } from '../../src/platform/common/money.js';
import { startTestApp, type TestApp, type TestCustomer } from '../support/app/test-app.js';
import { CleanUp } from '../support/clean-up.js';
import { MutableProxy } from '../support/database/mutable-proxy.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

const cleanUp = new CleanUp();
let database: TestDatabase;
let proxy: MutableProxy;

beforeAll(async () => {
  database = await createTestDatabase();
  cleanUp.add(() => database.drop());
  proxy = await MutableProxy.start(database.serviceUrl, cleanUp);
});
afterAll(() => cleanUp.run());

describe('over a connection that is open and silent, what one request reads is read over another one:', () => {
  let service: TestApp;
  let customer: TestCustomer;
  beforeAll(async () => {
    service = await startTestApp({ databaseUrl: proxy.url });
    cleanUp.add(() => service.close());
    customer = await service.createCustomer();
  });

  it.each<[string, () => Promise<unknown>]>([
    ['a wallet', () => service.app.get(WalletReaderService).read(customer.accountId)],
    [
      'whether a key may spend',
      () => service.app.get(SpendingCheckService).findObstacle(customer.accountId, 'key_none', micros(0n)),
    ],
    [
      'a list, by the pages that all lists have',
      () => service.app.get(AuditLog).list({ account: customer.accountId }, { limit: 10 }),
    ],
  ])('%s', async (_, read) => {
    const before = await read();
    proxy.muteLastUsed();
    expect(await read()).toEqual(before);
    // The silent one is used for nothing more.
    expect(await read()).toEqual(before);
  });
});

describe('a statement that is not answered in time', () => {
  /** Counts how often it is run. */
  const SLOW = `SELECT nextval('runs')::int AS run, pg_sleep(${(READ_AGAIN_AFTER_MS + 1_000) / 1_000})::text`;
  let owner: DataSource;
  let dataSource: DataSource;
  beforeAll(async () => {
    owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    cleanUp.add(() => owner.destroy());
    await owner.query('CREATE SEQUENCE runs; GRANT USAGE ON SEQUENCE runs TO PUBLIC');
  });
  beforeEach(async () => {
    await owner.query('ALTER SEQUENCE runs RESTART');
    dataSource = await new ReadRepeatingDataSource(
      applicationDataSourceOptions(database.serviceUrl, 10),
    ).initialize();
  });
  afterEach(() => dataSource.destroy());

  async function runs(): Promise<number> {
    const [row] = await owner.query<[{ run: number }]>(`SELECT nextval('runs')::int - 1 AS run`);
    return row.run;
  }

  it('is run twice when it is a read, and answered', async () => {
    expect(await readRows(dataSource, SLOW, [])).toMatchObject([{ run: 2 }]);
    expect(await runs()).toBe(2);
  });

  it('is run once when it may change something, or is part of a tx', async () => {
    const plain = dataSource.query(SLOW);
    const inTx = dataSource.transaction((tx) => tx.query(SLOW));
    await Promise.all([plain, inTx]);
    expect(await runs()).toBe(2);
  });

  it('is run again for three reads at a time, so that a slow server is not left with ever more to do', async () => {
    await Promise.all(Array.from({ length: 8 }, () => readRows(dataSource, SLOW, [])));
    expect(await runs()).toBe(8 + 3);
  });
});
