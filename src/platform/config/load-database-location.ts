import { existsSync } from 'node:fs';
import { EnvironmentReader } from './environment-reader.js';

const ENV_FILE = '.env';

/** Where the books are: at an address, or on the embedded server in a directory. */
export type DatabaseLocation = {
  readonly databaseUrl: string | null;
  readonly migrationDatabaseUrl: string | null;
  readonly dataDir: string;
};

/**
 * For tools that only read the database: they must work where the service's other settings, including its secrets,
 * are missing or wrong.
 */
export function loadDatabaseLocation(): DatabaseLocation {
  if (existsSync(ENV_FILE)) process.loadEnvFile(ENV_FILE);
  const read = new EnvironmentReader(process.env);
  return {
    databaseUrl: read.text('DATABASE_URL'),
    migrationDatabaseUrl: read.text('MIGRATION_DATABASE_URL'),
    dataDir: read.text('COFFER_DATA_DIR') ?? './.coffer',
  };
}
