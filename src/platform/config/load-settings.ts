import { existsSync } from 'node:fs';
import { readSettings, type Settings } from './settings.js';
import { EnvironmentReader } from './environment-reader.js';

const ENV_FILE = '.env';

/**
 * Returns the settings of this process: from the environment first, then from `.env` in the working directory for what
 * the environment does not set.
 *
 * @throws InvalidSettingsError naming every bad variable.
 */
export function loadSettings(): Settings {
  if (existsSync(ENV_FILE)) process.loadEnvFile(ENV_FILE);
  return readSettings(process.env);
}

/** The location of the database: a URL, or the directory of the embedded server. */
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
