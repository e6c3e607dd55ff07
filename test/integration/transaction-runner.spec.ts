import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { isUnavailable } from '../../src/platform/database/constraints.js';
import { applicationDataSourceOptions } from '../../src/platform/database/data-source.js';
import { TransactionRunner, type Tx } from '../../src/platform/database/transaction-runner.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

describe('a tx whose connection breaks between two of its statements', () => {
  let database: TestDatabase;
  let dataSource: DataSource;
  let owner: pg.Client;

  beforeAll(async () => {
    database = await createTestDatabase();
    dataSource = await new DataSource(applicationDataSourceOptions(database.serviceUrl, 2)).initialize();
    owner = new pg.Client({ connectionString: database.url });
    await owner.connect();
  });

  afterAll(async () => {
    await owner.end();
    await dataSource.destroy();
    await database.drop();
  });

  async function breakConnection(tx: Tx): Promise<void> {
    const connection = (await tx.queryRunner?.connect()) as pg.PoolClient;
    // Not `once`, which rejects with the error that comes first.
    const broken = new Promise((resolve) => connection.once('end', resolve));
    const [row] = await tx.query<{ pid: number }[]>('SELECT pg_backend_pid() AS pid');
    await owner.query('SELECT pg_terminate_backend($1)', [row?.pid]);
    await broken;
  }

  it.each([
    ['by its manager', (tx: Tx) => tx.query('SELECT 1')],
    ['by its query runner', async (tx: Tx) => tx.queryRunner?.query('SELECT 1')],
    ['when it commits', () => Promise.resolve()],
  ])('fails with an error that says the database is unavailable: %s', async (_when, next) => {
    const failed = new TransactionRunner(dataSource, 2).run(async (tx) => {
      await breakConnection(tx);
      await next(tx);
    });
    const error: unknown = await failed.then(
      () => 'it was committed',
      (reason: unknown) => reason,
    );
    expect([error, isUnavailable(error)]).toEqual([expect.any(Error), true]);
    // The next tx has another connection.
    expect(await new TransactionRunner(dataSource, 2).run((tx) => tx.query('SELECT 1 AS one'))).toEqual([
      { one: 1 },
    ]);
  });
});
