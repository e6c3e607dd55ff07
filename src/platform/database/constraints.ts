import { QueryRunnerAlreadyReleasedError, QueryRunnerProviderAlreadyReleasedError } from 'typeorm';

/** What Postgres says when it refuses a write; see https://www.postgresql.org/docs/current/errcodes-appendix.html */
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
  // EPIPE has five letters as well; what the system reports names the system call.
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

/** The whole tx may be tried again from its start: nothing of it was kept. */
export function isTransient(error: unknown): boolean {
  const code = asPostgresError(error)?.code;
  return code === DEADLOCK || code === SERIALIZATION_FAILURE;
}

const QUERY_CANCELED = '57014';
const LOCK_NOT_AVAILABLE = '55P03';

/** Somebody else kept a row or a table locked for longer than `lock_timeout`. */
export function isLockTimeout(error: unknown): boolean {
  return asPostgresError(error)?.code === LOCK_NOT_AVAILABLE;
}

/**
 * Another tx kept the end of the audit log's chain for longer than `lock_timeout`. It is waited for inside COMMIT, so nothing of the
 * tx was kept.
 */
export function isAuditHeadLocked(error: unknown): boolean {
  return isLockTimeout(error) && asPostgresError(error)?.where?.includes('seal_audit_event') === true;
}

/** A statement or a lock took longer than it may: nothing of the tx was kept, and trying at once would wait again. */
function isTimeout(error: unknown): boolean {
  return asPostgresError(error)?.code === QUERY_CANCELED || isLockTimeout(error);
}

/** The database has been migrated by a newer version, which forbids this one to move money (ADR 35). */
export function isOutdated(error: unknown): boolean {
  return asPostgresError(error)?.constraint === 'engine_version_current';
}

/**
 * The server is away, starting, stopping or out of connections, or has ended our session: 25P03 and 25P04 tell a
 * process that stood still inside a tx that it took too long. After a COMMIT this means "unknown": the caller
 * retries, and unique references decide.
 */
export function isConnectionFailure(error: unknown): boolean {
  const postgresError = asPostgresError(error);
  if (postgresError) return !isOutdated(error) && /^(08|25P0[34]|57P0|53)/.test(postgresError.code);
  if (!(error instanceof Error)) return false;
  if (isOfReleasedConnection(error)) return true;
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
 * TypeORM lets go of a connection that breaks while no statement runs on it, and knows at the tx's next statement only
 * that it has none. Nothing of ours uses a tx that has ended.
 */
function isOfReleasedConnection(error: Error): boolean {
  return (
    error instanceof QueryRunnerAlreadyReleasedError ||
    error instanceof QueryRunnerProviderAlreadyReleasedError
  );
}

/** What a caller is told is a 503: the database cannot do it at the moment. */
export function isUnavailable(error: unknown): boolean {
  return isConnectionFailure(error) || isTimeout(error) || isOutdated(error);
}
