import {
  type EmbeddedPostgres,
  startEmbeddedPostgres,
} from '../../../src/bootstrap/embedded-postgres/embedded-postgres.js';
import { migrateDatabase } from '../../../src/bootstrap/migrate-database.js';

/** A migrated PostgreSQL of one test's own. It stays dead when it is killed: the test decides when it is back. */
export async function startOwnPostgres(dataDir: string): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dataDir, log: () => undefined, restartDelaysMillis: [] });
  await migrateDatabase(server.ownerUrl, server.url);
  return server;
}
