import { Logger as GraphileLogger, runMigrations } from 'graphile-worker';
import { escapeIdentifier, escapeLiteral, Pool } from 'pg';
import { asPostgresError } from '../database/constraints.js';

/** With this lock, processes that start at once agree on who migrates; no other lock of Coffer has the same number. */
const MIGRATION_LOCK = 4_711_002;

/**
 * The library owns its tables and guards them by row-level security without any policy: only their owner
 * sees a row. This gives the service's role access, again after each of the library's migrations.
 */
const grantAccess = (role: string): string => `
  SET lock_timeout = '5s';
  GRANT USAGE ON SCHEMA graphile_worker TO ${escapeIdentifier(role)};
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA graphile_worker TO ${escapeIdentifier(role)};
  REVOKE INSERT, UPDATE, DELETE ON graphile_worker.migrations FROM ${escapeIdentifier(role)};
  DO $$
  DECLARE
    role CONSTANT text := ${escapeLiteral(role)};
    guarded regclass;
  BEGIN
    FOR guarded IN
      SELECT c.oid FROM pg_class c
       WHERE c.relnamespace = 'graphile_worker'::regnamespace AND c.relrowsecurity
         AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = role)
    LOOP
      EXECUTE format('CREATE POLICY %I ON %s TO %I USING (true) WITH CHECK (true)', role, guarded, role);
    END LOOP;
  END $$;`;

const quiet = new GraphileLogger(() => () => undefined);

/**
 * Brings the job queue's own schema up to date; call it after `migrate`, which returns the role.
 * Several processes may call it at the same time.
 *
 * @param ownerUrl connects as the role that owns the database.
 * @param role has the privileges of the service; null when only the owner has.
 */
export async function migrateJobs(ownerUrl: string, role: string | null): Promise<void> {
  await onPool(ownerUrl, async (pool) => {
    const client = await pool.connect();
    try {
      await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
      await runMigrations({ pgPool: pool, logger: quiet });
      if (role !== null) await client.query(grantAccess(role));
    } finally {
      // The connection is closed instead of returned: the end of the session releases the lock in every case.
      client.release(true);
    }
  });
}

const INSUFFICIENT_PRIVILEGE = '42501';

/** Returns whether the queue's schema is the one that the library expects. The service's login may not change it, so an outdated one raises an error. */
export async function areJobsMigrated(serviceUrl: string): Promise<boolean> {
  try {
    await onPool(serviceUrl, (pool) => runMigrations({ pgPool: pool, logger: quiet }));
    return true;
  } catch (error) {
    if (asPostgresError(error)?.code === INSUFFICIENT_PRIVILEGE) return false;
    throw error;
  }
}

async function onPool(url: string, work: (pool: Pool) => Promise<void>): Promise<void> {
  const pool = new Pool({ connectionString: url, max: 2 });
  // A connection that breaks while it is idle must not crash the process; the next query reports it.
  pool.on('error', () => undefined);
  try {
    await work(pool);
  } finally {
    await pool.end();
  }
}
