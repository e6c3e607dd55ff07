export type UsageLimits = {
  /** How many accounts and transfers one tx adds up (exceeded by at most one account), which is at most a second of work. */
  readonly accountsPerBatch: number;
  readonly transfersPerAccount: number;
  readonly transfersPerBatch: number;
  readonly callsPerBatch: number;
  /** After this a run stops, and the next one continues a minute later. */
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
