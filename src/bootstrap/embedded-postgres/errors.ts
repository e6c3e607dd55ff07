/**
 * The reasons why the embedded server may not run. Each message ends with what to do about it, because its first
 * reader is a newcomer whose very first command has just failed.
 */
export class EmbeddedPostgresError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** This machine has no binaries for the embedded server, or lacks what is needed to run them. */
export class EmbeddedPostgresUnavailableError extends EmbeddedPostgresError {
  constructor(reason: string, options?: ErrorOptions) {
    super(
      `The embedded PostgreSQL cannot run here: ${reason}. Set DATABASE_URL to use another server.`,
      options,
    );
  }
}

/** A living service holds the data directory. A dead one never causes this: its lock dies with it. */
export class DataDirInUseError extends EmbeddedPostgresError {
  constructor(dataDir: string, holderPid: number | undefined) {
    const holder = holderPid === undefined ? 'another process' : `process ${holderPid}`;
    super(
      `The data directory ${dataDir} is in use by ${holder}. Stop that one, give this one its own COFFER_DATA_DIR, ` +
        'or let both share one database by setting DATABASE_URL.',
    );
  }
}

/** The user who runs this process cannot use the data directory. */
export class DataDirAccessError extends EmbeddedPostgresError {
  constructor(dataDir: string, reason: string, options?: ErrorOptions) {
    super(
      `The data directory ${dataDir} cannot be used: ${reason}. Choose another COFFER_DATA_DIR, or set DATABASE_URL.`,
      options,
    );
  }
}

/** `initdb` or `postgres` refused to work; the message carries the end of what it printed. */
export class EmbeddedPostgresStartError extends EmbeddedPostgresError {
  constructor(
    what: string,
    /** The last lines the program printed; empty if it printed nothing. */
    readonly output: string,
    options?: ErrorOptions,
  ) {
    super(`${what}${output === '' ? '.' : `:\n${output}`}`, options);
  }
}
