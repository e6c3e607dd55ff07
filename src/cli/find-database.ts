import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadDatabaseLocation } from '../config/load-database-location.js';

export type CliDatabase = { readonly url: string; stop(): Promise<void> };

/** The given address, the configured one, or our own server: the running service's, or started for the while. */
export async function findDatabase(given: string | null): Promise<CliDatabase> {
  const { databaseUrl, dataDir } = loadDatabaseLocation();
  const url = given ?? databaseUrl;
  if (url !== null && !/^postgres(ql)?:\/\//.test(url)) {
    throw new Error('the address of the database must be a URL such as postgres://db.internal:5432/coffer');
  }
  if (url !== null) return { url, stop: () => Promise.resolve() };
  const embedded = await import('../database/embedded/embedded-postgres.js');
  const running = await embedded.findEmbeddedPostgres(dataDir);
  if (running !== undefined) return { url: running, stop: () => Promise.resolve() };
  // Starting it would make a new, empty database, and an empty database says nothing.
  if (!existsSync(join(dataDir, 'postgres'))) {
    throw new Error(
      `there is no database in ${dataDir}; give --database-url, DATABASE_URL or COFFER_DATA_DIR`,
    );
  }
  return embedded.startEmbeddedPostgres({ dataDir, log: () => undefined });
}
