import { loadDatabaseLocation } from '../platform/config/load-settings.js';
import { examineLogin } from '../platform/database/service-login.js';
import { APPLICATION_ROLE } from '../platform/database/service-role.js';
import { migrateDatabase } from '../bootstrap/migrate-database.js';
import { print } from './output.js';

/** `coffer migrate` changes, as the owner, what the service's login may not change. */
export async function migrate(): Promise<number> {
  const { migrationDatabaseUrl, databaseUrl } = loadDatabaseLocation();
  if (migrationDatabaseUrl === null) {
    throw new Error(
      "set MIGRATION_DATABASE_URL to the owner's login; without DATABASE_URL the service migrates its own database at start",
    );
  }
  await migrateDatabase(migrationDatabaseUrl, databaseUrl ?? undefined);
  print('The database is up to date.');
  if (databaseUrl === null) {
    print(
      'DATABASE_URL is not set, so no login of the service was made. As the owner, or an administrator of the server:',
      "  CREATE ROLE coffer_service LOGIN PASSWORD '<a new password>';",
      `  GRANT ${APPLICATION_ROLE} TO coffer_service;`,
    );
    return 0;
  }
  const { name, excessPowers } = await examineLogin(databaseUrl);
  print(
    excessPowers.length === 0
      ? `The login ${name} of DATABASE_URL has what the service needs, and nothing else.`
      : `The login ${name} of DATABASE_URL ${excessPowers.join(', ')}; production refuses it.`,
  );
  return 0;
}
