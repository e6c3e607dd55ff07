export type UsageLimits = {
  /** How many accounts one tx adds up, how many transfers of each, and of all (one account's more): a second's work at most. */
  readonly accountsPerBatch: number;
  readonly transfersPerAccount: number;
  readonly transfersPerBatch: number;
  readonly callsPerBatch: number;
  /** One run stops here; the next one, a minute later, goes on. */
  readonly runSecondsMax: number;
};

export const USAGE_LIMITS = Symbol('USAGE_LIMITS');

export const usageLimits: UsageLimits = {
  accountsPerBatch: 500,
  transfersPerAccount: 2_000,
  transfersPerBatch: 20_000,
  callsPerBatch: 20_000,
  runSecondsMax: 50,
};
