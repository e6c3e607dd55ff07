import { readFileSync } from 'node:fs';
import { DataSource } from 'typeorm';
import { migrate } from '../../../src/platform/database/migrate.js';
import { startEngine, type EngineProcess } from './engine.js';
import { createTestDatabase, type TestDatabase } from './test-database.js';

/** A database that goes back to the schema before one migration, is filled as that release filled it, and is upgraded. */
export class UpgradeTest {
  private constructor(
    private readonly migrations: readonly URL[],
    private readonly database: TestDatabase,
    /** As the role that owns the tables. */
    readonly owner: DataSource,
    private readonly process: EngineProcess,
  ) {}

  /** `files`: the migrations' names in their order, without `.sql`. */
  static async open(...files: readonly string[]): Promise<UpgradeTest> {
    const migrations = files.map((file) => new URL(`../../../migrations/${file}.sql`, import.meta.url));
    const database = await createTestDatabase();
    const owner = await new DataSource({ type: 'postgres', url: database.url }).initialize();
    return new UpgradeTest(migrations, database, owner, await startEngine(database.url));
  }

  get engine(): EngineProcess['engine'] {
    return this.process.engine;
  }

  /** As the service connects. */
  get dataSource(): DataSource {
    return this.process.dataSource;
  }

  async upgrade(): Promise<void> {
    for (const migration of this.migrations)
      await this.owner.transaction((tx) => tx.query(readFileSync(migration, 'utf8')));
    // Gives the service its rights on what is new.
    await migrate(this.database.url, this.database.serviceUrl);
  }

  async close(): Promise<void> {
    await this.process.dataSource.destroy();
    await this.owner.destroy();
    await this.database.drop();
  }
}
