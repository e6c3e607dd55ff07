import { DataSource } from 'typeorm';
import { ownerDataSourceOptions } from './data-source.js';

/** Any two processes that start at once agree on who migrates; the number only has to be ours alone. */
const MIGRATION_LOCK = 4_711_001;

/** Brings the database up to date. Safe to call from several processes at the same time. */
export async function migrate(ownerUrl: string): Promise<void> {
  const owner = await new DataSource(ownerDataSourceOptions(ownerUrl)).initialize();
  try {
    await owner.query('SELECT pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await owner.runMigrations({ transaction: 'each' });
  } finally {
    await owner.destroy();
  }
}
