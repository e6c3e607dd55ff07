import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadDatabaseLocation } from '../platform/config/load-settings.js';
import { asPostgresError } from '../platform/database/constraints.js';
import { examineLogin } from '../platform/database/service-login.js';

/** What commands that read a database can be given. */
export type DatabaseOption = { readonly databaseUrl?: string };

export type CliDatabase = { readonly url: string; stop(): Promise<void> };

/** Returns the given address, or the configured one, or that of the embedded server, which is started for the command if no service runs it. */
export async function findDatabase(given?: string): Promise<CliDatabase> {
  const { databaseUrl, dataDir } = loadDatabaseLocation();
  const url = given ?? databaseUrl;
  if (url !== null && !/^postgres(ql)?:\/\//.test(url)) {
    throw new Error('the address of the database must be a URL such as postgres://db.internal:5432/coffer');
  }
  if (url !== null) return { url, stop: () => Promise.resolve() };
  const embedded = await import('../bootstrap/embedded-postgres/embedded-postgres.js');
  const running = await embedded.findEmbeddedPostgres(dataDir);
  if (running !== undefined) return knownToServer({ ...running, stop: () => Promise.resolve() });
  // A start would create a new, empty database, and checking that proves nothing.
  if (!existsSync(join(dataDir, 'postgres'))) {
    throw new Error(
      `there is no database in ${dataDir}; give --database-url, DATABASE_URL or COFFER_DATA_DIR`,
    );
  }
  return knownToServer(await embedded.startEmbeddedPostgres({ dataDir, log: () => undefined }));
}

const INVALID_PASSWORD = '28P01';
const INVALID_AUTHORIZATION = '28000';

/** The service's login is created when the service starts; a database of an earlier version does not have it. */
async function knownToServer(database: CliDatabase): Promise<CliDatabase> {
  try {
    await examineLogin(database.url);
    return database;
  } catch (error) {
    await database.stop();
    const code = asPostgresError(error)?.code;
    if (code !== INVALID_PASSWORD && code !== INVALID_AUTHORIZATION) throw error;
    throw new Error('this version has never used the database; start the service on it once', {
      cause: error,
    });
  }
}
