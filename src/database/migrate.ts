import { DataSource } from 'typeorm';
import { ownerDataSourceOptions } from './data-source.js';
import { grantPrivileges } from './privileges.js';
import { prepareServiceRole } from './service-role.js';
import { sqlMigrationNames } from './sql-migrations.js';

/** Any two processes that start at once agree on who migrates; the number only has to be ours alone. */
const MIGRATION_LOCK = 4_711_001;

/**
 * Brings the database up to date, and the service's login to exactly the privileges that it needs. Safe to call from several
 * processes at the same time.
 *
 * @param serviceUrl as whom the service logs in; by default there is no other login than the owner's.
 * @returns the role that has the privileges of the service; null when only the owner has.
 * @throws ServiceLoginMissingError
 */
export async function migrate(ownerUrl: string, serviceUrl: string = ownerUrl): Promise<string | null> {
  const owner = await new DataSource(ownerDataSourceOptions(ownerUrl)).initialize();
  try {
    await owner.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const role = await prepareServiceRole(owner, serviceUrl);
    await owner.runMigrations({ transaction: 'each' });
    if (role !== null && !(await isOfNewerVersion(owner))) await grantPrivileges(owner, role);
    return role;
  } finally {
    await owner.destroy();
  }
}

/** A newer version has tables and privileges that this one does not know, and would take away. */
async function isOfNewerVersion(owner: DataSource): Promise<boolean> {
  const unknown = await owner.query<unknown[]>(
    'SELECT FROM migrations WHERE name <> ALL($1::text[]) LIMIT 1',
    [sqlMigrationNames()],
  );
  return unknown.length > 0;
}
