import { migrate } from '../platform/database/migrate.js';
import { migrateJobs } from '../platform/jobs/migrate-jobs.js';

/**
 * Brings the whole database up to date: Coffer's tables and those of the job queue.
 *
 * @param ownerUrl the login that owns the database.
 * @param serviceUrl the login of the service, which is created if needed and given its privileges; may be the same.
 */
export async function migrateDatabase(ownerUrl: string, serviceUrl?: string): Promise<void> {
  const role = await migrate(ownerUrl, serviceUrl);
  await migrateJobs(ownerUrl, role);
}
