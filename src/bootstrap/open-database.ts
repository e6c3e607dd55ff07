import type { Settings } from '../platform/config/settings.js';
import { examineLogin, findObstacle, type ServiceLogin } from '../platform/database/service-login.js';
import { ServiceLoginMissingError } from '../platform/database/service-role.js';
import { areJobsMigrated } from '../platform/jobs/migrate-jobs.js';
import { migrateDatabase } from './migrate-database.js';

export type OpenDatabase = {
  /** It contains the password, so it is a secret. */
  readonly url: string;
  /** Stops the server if this process started it; call it last. */
  stop(): Promise<void>;
};

type Log = (level: 'info' | 'warn' | 'error', message: string) => void;

/** Waits this long for a server that is starting at the same time (docker compose, a reboot). */
const CONNECT_ATTEMPTS_MAX = 20;
const CONNECT_RETRY_MILLIS = 500;

/** The requested database cannot be used. The message never contains the URL, because that has a password. */
export class DatabaseUnreachableError extends Error {
  constructor(cause: unknown) {
    super(
      `The database of DATABASE_URL cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
    this.name = 'DatabaseUnreachableError';
  }
}

/** The service may not run on the database in its present state, or not with this login. The message says what to do. */
export class DatabaseNotReadyError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'DatabaseNotReadyError';
  }
}

/**
 * Connects to the database that the settings name, or starts an embedded one when they name none, and migrates it if it
 * has the owner's login.
 *
 * @param onFailure called once if the embedded server died and could not be restarted.
 * @throws DatabaseUnreachableError, DatabaseNotReadyError, ServiceLoginMissingError, or one of `embedded/errors.ts`.
 */
export async function openDatabase(
  settings: Settings,
  log: Log,
  onFailure: (error: Error) => void,
): Promise<OpenDatabase> {
  const { databaseUrl } = settings;
  if (databaseUrl !== null) {
    await whenReachable(() => prepare({ ...settings, databaseUrl }, log), log);
    return { url: databaseUrl, stop: () => Promise.resolve() };
  }
  const { startEmbeddedPostgres } = await import('./embedded-postgres/embedded-postgres.js');
  const server = await startEmbeddedPostgres({ dataDir: settings.dataDir, log, onFailure });
  try {
    await migrateDatabase(server.ownerUrl, server.url);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

async function prepare(settings: Settings & { readonly databaseUrl: string }, log: Log): Promise<void> {
  const { databaseUrl, migrationDatabaseUrl } = settings;
  if (migrationDatabaseUrl !== null) await migrateDatabase(migrationDatabaseUrl, databaseUrl);
  const login = await examineLogin(databaseUrl);
  checkLogin(login, settings, log);
  if (migrationDatabaseUrl === null && login.mayMigrate) await migrateDatabase(databaseUrl, databaseUrl);
  const obstacle = await findObstacle(databaseUrl);
  if (obstacle !== null) throw new DatabaseNotReadyError(obstacle);
  if (!(await areJobsMigrated(databaseUrl))) throw new DatabaseNotReadyError(JOBS_NOT_MIGRATED);
}

const JOBS_NOT_MIGRATED =
  'The job queue in the database of DATABASE_URL is of an older version, and its login may not change it: run `coffer migrate` with ' +
  "MIGRATION_DATABASE_URL, the owner's login, first.";

/** Outside production one login is enough, and every start warns of what that allows. */
function checkLogin({ name, excessPowers }: ServiceLogin, settings: Settings, log: Log): void {
  if (excessPowers.length === 0) return;
  const found = `The login ${name} of DATABASE_URL ${excessPowers.join(', ')}`;
  if (settings.environment === 'production' && !settings.allowOwnerDatabaseLogin) {
    throw new DatabaseNotReadyError(
      `${found}, so an attacker who breaks into the service could rewrite the ledger. Give the service a login of its own, and ` +
        'the owner to `coffer migrate` as MIGRATION_DATABASE_URL (README, "Two database logins"), or set ' +
        'ALLOW_OWNER_DATABASE_LOGIN=yes to allow it.',
    );
  }
  log('warn', `${found}. Only triggers, which it could switch off, keep the ledger from being rewritten.`);
}

async function whenReachable(work: () => Promise<void>, log: Log): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof DatabaseNotReadyError || error instanceof ServiceLoginMissingError) throw error;
      if (attempt === CONNECT_ATTEMPTS_MAX || !isStarting(error)) throw new DatabaseUnreachableError(error);
      if (attempt === 1) log('warn', 'The database does not answer yet; waiting for it.');
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MILLIS));
    }
  }
}

/** Returns whether the error passes by itself, as a refused connection or "the database system is starting up" does; a wrong password does not. */
function isStarting(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ECONNREFUSED' || code === '57P03';
}
