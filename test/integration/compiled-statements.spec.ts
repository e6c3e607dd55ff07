import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import {
  applicationDataSourceOptions,
  engineDataSourceOptions,
} from '../../src/platform/database/data-source.js';
import { DOCTOR_SNAPSHOT } from '../../src/finance/audit/examine-books.js';
import { Snapshot } from '../../src/platform/database/snapshot.js';
import { createTestDatabase, type TestDatabase } from '../support/database/test-database.js';

/** As PostgreSQL comes; our own server has it off for every connection. */
const DEFAULT_OF_SERVERS = 'on';

let database: TestDatabase;
let owner: DataSource;
beforeAll(async () => {
  database = await createTestDatabase();
  owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
  const [row] = await owner.query<{ name: string }[]>('SELECT current_database() AS name');
  await owner.query(`ALTER DATABASE ${row?.name} SET jit = ${DEFAULT_OF_SERVERS}`);
  await owner.destroy();
  owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
});
afterAll(async () => {
  await owner.destroy();
  await database.drop();
});

const compiles = async (dataSource: DataSource): Promise<unknown> =>
  (await dataSource.query<{ jit: string }[]>('SHOW jit'))[0]?.jit;

describe('a server that compiles statements which it takes for expensive', () => {
  it.each([
    ['the service', applicationDataSourceOptions],
    ['the wallet engine', engineDataSourceOptions],
  ])('compiles none of %s', async (_of, options) => {
    expect(await compiles(owner)).toBe(DEFAULT_OF_SERVERS);
    const dataSource = await new DataSource(options(database.serviceUrl, 1)).initialize();
    expect(await compiles(dataSource)).toBe('off');
    await dataSource.destroy();
  });

  it('compiles none of the doctor, which logs in by itself', async () => {
    const snapshot = await Snapshot.ofPool(owner, DOCTOR_SNAPSHOT);
    try {
      expect(await snapshot.rows('SHOW jit')).toEqual([['off']]);
    } finally {
      await snapshot.close();
    }
    expect(await compiles(owner)).toBe(DEFAULT_OF_SERVERS);
  });
});
