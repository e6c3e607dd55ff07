import { Logger as GraphileLogger, runMigrations } from 'graphile-worker';
import { Pool } from 'pg';
import { APPLICATION_ROLE } from '../database/data-source.js';

/** Any two processes that start at once agree on who migrates; the number only has to be ours alone. */
const MIGRATION_LOCK = 4_711_002;

/**
 * The library's tables are its own, and guarded by row-level security without any policy: only their owner
 * sees a row. The application role is let in here, again after each of the library's migrations.
 */
const LET_APPLICATION_IN = `
  SET lock_timeout = '5s';
  GRANT USAGE ON SCHEMA graphile_worker TO ${APPLICATION_ROLE};
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA graphile_worker TO ${APPLICATION_ROLE};
  REVOKE INSERT, UPDATE, DELETE ON graphile_worker.migrations FROM ${APPLICATION_ROLE};
  DO $$
  DECLARE guarded regclass;
  BEGIN
    FOR guarded IN
      SELECT c.oid FROM pg_class c
       WHERE c.relnamespace = 'graphile_worker'::regnamespace AND c.relrowsecurity
         AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = '${APPLICATION_ROLE}')
    LOOP
      EXECUTE format('CREATE POLICY ${APPLICATION_ROLE} ON %s TO ${APPLICATION_ROLE} USING (true) WITH CHECK (true)', guarded);
    END LOOP;
  END $$;`;

const quiet = new GraphileLogger(() => () => undefined);

/**
 * Brings the job queue's own schema up to date; call it after `migrate`, which makes the application role.
 * Safe to call from several processes at the same time.
 *
 * @param ownerUrl connects as the role that owns the database; the running service steps down from it.
 */
export async function migrateJobs(ownerUrl: string): Promise<void> {
  const pool = new Pool({ connectionString: ownerUrl, max: 2 });
  // A connection that breaks while it is idle must not crash the process; the next query reports it.
  pool.on('error', () => undefined);
  try {
    const client = await pool.connect();
    try {
      await client.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
      await runMigrations({ pgPool: pool, logger: quiet });
      await client.query(LET_APPLICATION_IN);
    } finally {
      // Closed, not kept: the session's end gives the lock back, whatever happened.
      client.release(true);
    }
  } finally {
    await pool.end();
  }
}
