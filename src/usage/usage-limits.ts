export type UsageLimits = {
  /** How many accounts, and how many transfers of each, one tx adds up: a second's work at most. */
  readonly accountsPerBatch: number;
  readonly transfersPerBatch: number;
  readonly callsPerBatch: number;
  /** One run stops here; the next one, a minute later, goes on. */
  readonly runSecondsMax: number;
};

export const USAGE_LIMITS = Symbol('USAGE_LIMITS');

export const usageLimits: UsageLimits = {
  accountsPerBatch: 50,
  transfersPerBatch: 2_000,
  callsPerBatch: 20_000,
  runSecondsMax: 50,
};
