import { setTimeout as pause } from 'node:timers/promises';
import { DataSource } from 'typeorm';
import { isLockTimeout } from './constraints.js';
import { ownerDataSourceOptions } from './data-source.js';
import { grantPrivileges } from './privileges.js';
import { prepareServiceRole } from './service-role.js';
import { sqlMigrationNames } from './sql-migrations.js';

/** With this lock, processes that start at once agree on who migrates; no other lock of Coffer has the same number. */
const MIGRATION_LOCK = 4_711_001;

/**
 * The pause between two attempts at a migration that met a locked table. Each attempt stops the writers of the table for a
 * moment, so attempts are rare where the lock is kept for long.
 */
const PAUSE_MS_MIN = 1_000;
const PAUSE_MS_MAX = 10_000;
/** A backup and `coffer doctor` lock every table against migrations while they read. */
const LOCKED_MS_MAX = 10 * 60_000;

/** Other sessions kept tables locked for so long that the migration could not run. */
export class DatabaseLockedError extends Error {
  constructor(cause: unknown) {
    super(
      'The database could not be migrated: another session, such as a backup, has kept a table locked for ten minutes ' +
        '(SELECT * FROM pg_stat_activity ORDER BY xact_start). What was migrated until then is kept. Try again when it has ended.',
      { cause },
    );
    this.name = 'DatabaseLockedError';
  }
}

/**
 * Brings the database up to date, and the service's login to exactly the privileges that it needs. Several processes may call
 * it at the same time.
 *
 * @param serviceUrl the login of the service; by default, it is the owner's.
 * @returns the role that has the privileges of the service; null when only the owner has.
 * @throws ServiceLoginMissingError, DatabaseLockedError
 */
export async function migrate(ownerUrl: string, serviceUrl: string = ownerUrl): Promise<string | null> {
  const owner = await new DataSource(ownerDataSourceOptions(ownerUrl)).initialize();
  try {
    await owner.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    const role = await prepareServiceRole(owner, serviceUrl);
    await runMigrations(owner);
    if (role !== null && !(await isMigratedByNewerVersion(owner))) await grantPrivileges(owner, role);
    return role;
  } finally {
    await owner.destroy();
  }
}

/** A migration that waits for a lock for too long is rolled back and tried again. */
async function runMigrations(owner: DataSource): Promise<void> {
  const giveUpAtMs = performance.now() + LOCKED_MS_MAX;
  for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    try {
      await owner.runMigrations({ transaction: 'each' });
      return;
    } catch (error) {
      if (!isLockTimeout(error)) throw error;
      if (performance.now() + pauseMs > giveUpAtMs) throw new DatabaseLockedError(error);
    }
    await pause(pauseMs);
  }
}

/** A newer version has tables and privileges that this one does not know, and would revoke. */
async function isMigratedByNewerVersion(owner: DataSource): Promise<boolean> {
  const unknown = await owner.query<unknown[]>(
    'SELECT FROM migrations WHERE name <> ALL($1::text[]) LIMIT 1',
    [sqlMigrationNames()],
  );
  return unknown.length > 0;
}
