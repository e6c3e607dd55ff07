import { Client } from 'pg';

/** As `psql` does that begins a tx and takes the end of the audit log's chain. */
export async function whileHeadIsHeld(
  databaseUrl: string,
  work: (release: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const session = new Client({ connectionString: databaseUrl });
  await session.connect();
  try {
    await session.query('BEGIN; SELECT FROM audit_head FOR UPDATE');
    await work(async () => void (await session.query('ROLLBACK')));
  } finally {
    await session.end();
  }
}
