export type UsageLimits = {
  /**
   * Calls that charged nothing are added up when they ended this long ago, by the database's clock. The database lets
   * nobody end one further back than two minutes (`generations_end_is_now`), and no statement of the service runs longer
   * than half a minute: what is older than this is complete.
   */
  readonly sealAfterSeconds: number;
  /** How many accounts, and how many transfers of each, one tx adds up: a second's work at most. */
  readonly accountsPerBatch: number;
  readonly transfersPerBatch: number;
  readonly callsPerBatch: number;
  /** One run stops here; the next one, a minute later, goes on. */
  readonly runSecondsMax: number;
};

export const USAGE_LIMITS = Symbol('USAGE_LIMITS');

export const usageLimits: UsageLimits = {
  sealAfterSeconds: 300,
  accountsPerBatch: 50,
  transfersPerBatch: 2_000,
  callsPerBatch: 20_000,
  runSecondsMax: 50,
};
