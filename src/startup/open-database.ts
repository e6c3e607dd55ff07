import type { Settings } from '../config/settings.js';
import { migrate } from '../database/migrate.js';
import { migrateJobs } from '../jobs/migrate-jobs.js';

export type OpenDatabase = {
  /** Carries the password: a secret. */
  readonly url: string;
  /** Stops the server if it is ours; call it last. */
  stop(): Promise<void>;
};

type Log = (level: 'info' | 'warn' | 'error', message: string) => void;

/** Waits this long for a server that is still starting beside us (docker compose, a reboot). */
const CONNECT_ATTEMPTS_MAX = 20;
const CONNECT_RETRY_MILLIS = 500;

/** The database that was asked for cannot be used. The message never contains the URL: it has a password. */
export class DatabaseUnreachableError extends Error {
  constructor(cause: unknown) {
    super(
      `The database of DATABASE_URL cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
    this.name = 'DatabaseUnreachableError';
  }
}

/**
 * Brings up the database that the settings ask for, ours when they ask for none, and migrates it.
 *
 * @param onFailure called once if our own server died and could not be brought back.
 * @throws DatabaseUnreachableError, or one of `embedded/errors.ts`.
 */
export async function openDatabase(
  settings: Settings,
  log: Log,
  onFailure: (error: Error) => void,
): Promise<OpenDatabase> {
  if (settings.databaseUrl !== null) {
    await migrateWhenReachable(settings.databaseUrl, log);
    return { url: settings.databaseUrl, stop: () => Promise.resolve() };
  }
  const { startEmbeddedPostgres } = await import('../database/embedded/embedded-postgres.js');
  const server = await startEmbeddedPostgres({ dataDir: settings.dataDir, log, onFailure });
  try {
    await migrateAll(server.url);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

async function migrateWhenReachable(url: string, log: Log): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await migrateAll(url);
    } catch (error) {
      if (attempt === CONNECT_ATTEMPTS_MAX || !isStarting(error)) throw new DatabaseUnreachableError(error);
      if (attempt === 1) log('warn', 'The database does not answer yet; waiting for it.');
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MILLIS));
    }
  }
}

/** The job queue's tables are the library's own; they need the application role that ours makes. */
async function migrateAll(url: string): Promise<void> {
  await migrate(url);
  await migrateJobs(url);
}

/** Refused connections and "the database system is starting up" pass by themselves; a wrong password does not. */
function isStarting(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ECONNREFUSED' || code === '57P03';
}
