import { beforeAll, describe, expect, it } from '@jest/globals';
import { DataSource } from 'typeorm';
import { sharedApp } from '../fixtures/shared-app.js';
import type { TestApp } from '../support/app/test-app.js';

describe('entities and migrations', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await sharedApp();
  });

  async function wantedChanges(prepare: string): Promise<string[]> {
    const entities = app.dataSource.entityMetadatas.map((metadata) => metadata.target);
    const owner = await new DataSource({ type: 'postgres', url: app.databaseUrl, entities }).initialize();
    try {
      await owner.query(prepare);
      const { upQueries } = await owner.driver.createSchemaBuilder().log();
      return upQueries.map(({ query }) => query);
    } finally {
      await owner.destroy();
    }
  }

  it('agree: TypeORM would change nothing in the migrated schema', async () => {
    expect(await wantedChanges('SELECT 1')).toEqual([]);
  });

  it('are compared in earnest: a column that no entity knows is noticed', async () => {
    const changes = await wantedChanges('ALTER TABLE accounts ADD COLUMN stray text');
    expect(changes).toEqual([expect.stringContaining('stray')]);
  });
});
