import { QueryRunnerAlreadyReleasedError, QueryRunnerProviderAlreadyReleasedError } from 'typeorm';

/** The error that Postgres reports when it refuses a write; see https://www.postgresql.org/docs/current/errcodes-appendix.html */
export type PostgresError = Error & {
  readonly code: string;
  readonly constraint?: string | undefined;
  readonly detail?: string | undefined;
  /** The functions that were running, innermost first. */
  readonly where?: string | undefined;
};

export function asPostgresError(error: unknown): PostgresError | null {
  if (!(error instanceof Error)) return null;
  if ('driverError' in error) return asPostgresError(error.driverError);
  // EPIPE has five letters as well, but the errors of the system name the system call.
  if (!('code' in error) || 'syscall' in error) return null;
  const { code } = error;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? (error as PostgresError) : null;
}

const DEADLOCK = '40P01';
const SERIALIZATION_FAILURE = '40001';
const UNIQUE_VIOLATION = '23505';

export function isUniqueViolation(error: unknown, constraint: string): boolean {
  const postgresError = asPostgresError(error);
  return postgresError?.code === UNIQUE_VIOLATION && postgresError.constraint === constraint;
}

/** Returns whether the whole tx may be tried again from its start, because none of it was kept. */
export function isTransient(error: unknown): boolean {
  const code = asPostgresError(error)?.code;
  return code === DEADLOCK || code === SERIALIZATION_FAILURE;
}

const QUERY_CANCELED = '57014';
const LOCK_NOT_AVAILABLE = '55P03';

/** Another session kept a row or a table locked for longer than `lock_timeout`. */
export function isLockTimeout(error: unknown): boolean {
  return asPostgresError(error)?.code === LOCK_NOT_AVAILABLE;
}

/**
 * Another tx kept the end of the audit log's chain locked for longer than `lock_timeout`. The wait is inside COMMIT, so nothing
 * of the tx was kept.
 */
export function isAuditHeadLocked(error: unknown): boolean {
  return isLockTimeout(error) && asPostgresError(error)?.where?.includes('seal_audit_event') === true;
}

/** A statement or a lock took longer than allowed: nothing of the tx was kept, and an immediate retry would wait again. */
function isTimeout(error: unknown): boolean {
  return asPostgresError(error)?.code === QUERY_CANCELED || isLockTimeout(error);
}

/** A newer version has migrated the database and forbids this one to move money (ADR 35). */
export function isOutdated(error: unknown): boolean {
  return asPostgresError(error)?.constraint === 'engine_version_current';
}

/**
 * The server is unreachable, starting, stopping or out of connections, or has ended the session: with 25P03 and 25P04 it
 * reports that a process which paused inside a tx took too long. After a COMMIT this means "unknown": the caller
 * retries, and unique references decide.
 */
export function isConnectionFailure(error: unknown): boolean {
  const postgresError = asPostgresError(error);
  if (postgresError) return !isOutdated(error) && /^(08|25P0[34]|57P0|53)/.test(postgresError.code);
  if (!(error instanceof Error)) return false;
  if (isReleasedConnection(error)) return true;
  if ('driverError' in error && error.driverError !== error) return isConnectionFailure(error.driverError);
  const code: unknown = 'code' in error ? error.code : undefined;
  return (
    (typeof code === 'string' && /^(ECONN|EPIPE|ETIMEDOUT|ENOENT|EHOSTUNREACH)/.test(code)) ||
    /Connection terminated|connection timeout|timeout exceeded when trying to connect|Client has encountered a connection error|not queryable|Query read timeout/i.test(
      error.message,
    )
  );
}

/**
 * TypeORM releases a connection that breaks while no statement runs on it, and at the tx's next statement it only reports that
 * the tx has none. Coffer never uses a tx that has ended, so this error has no other cause.
 */
function isReleasedConnection(error: Error): boolean {
  return (
    error instanceof QueryRunnerAlreadyReleasedError ||
    error instanceof QueryRunnerProviderAlreadyReleasedError
  );
}

/** Returns whether the caller receives a 503: the database cannot do the work at the moment. */
export function isUnavailable(error: unknown): boolean {
  return isConnectionFailure(error) || isTimeout(error) || isOutdated(error);
}
