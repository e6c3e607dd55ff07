import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { migrate } from '../../src/platform/database/migrate.js';
import { expectBooksToBalance } from '../fixtures/books.js';
import { addCredit, createAccount, startEngine, type EngineProcess } from '../support/database/engine.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';
import { eventually } from '../support/processes.js';

/** Changes the ledger's table, as any release may. */
const LAST_MIGRATION = 'UnappliedPayments1795300000057';

let database: TestDatabase;
let owner: DataSource;
let service: EngineProcess;
beforeAll(async () => {
  database = await createTestDatabase();
  owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
  service = await startEngine(database.url);
});
afterAll(async () => {
  await expectBooksToBalance(service.dataSource);
  await service.dataSource.destroy();
  await owner.destroy();
  await database.drop();
});

const isMigrated = async (): Promise<boolean> =>
  (await owner.query<unknown[]>('SELECT FROM migrations WHERE name = $1', [LAST_MIGRATION])).length > 0;

const isWaiting = async (): Promise<boolean> => {
  const waiting = `SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE datname = current_database() AND relation = 'transfers'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted`;
  return (await owner.query<unknown[]>(waiting)).length > 0;
};

describe('a migration that needs a table which a backup is reading', () => {
  it('lets charges through while it waits, and is done when the backup has ended', async () => {
    const accountId = await createAccount(owner);
    await addCredit(service.engine, accountId, 1_000);
    await owner.query('DELETE FROM migrations WHERE name = $1', [LAST_MIGRATION]);
    const backup = owner.createQueryRunner();
    await backup.startTransaction();
    await backup.query('SELECT count(*) FROM transfers');

    const migrating = migrate(database.url, database.serviceUrl);
    // Twice: the first attempt has given up, and the next one is made.
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await eventually('the migration waits for the table', isWaiting);
      // Outdated the migration in the queue for the table's lock.
      await addCredit(service.engine, accountId, 1_000);
      expect(await isMigrated()).toBe(false);
    }

    await backup.commitTransaction();
    await backup.release();
    await migrating;
    expect(await isMigrated()).toBe(true);
    await addCredit(service.engine, accountId, 1_000);
  });
});
