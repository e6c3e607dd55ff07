import type { Problem } from '../../platform/errors/problem.js';

export const FAILED_AUTHENTICATIONS = Symbol('FAILED_AUTHENTICATIONS');

/** Port that counts refused keys by network address. `rate-limits/` implements it, which is above this module. */
export interface FailedAuthentications {
  /** Returns the 429 for another bad key of an address that has failed too often lately; null for any other address. */
  refusalFor(address: string): Promise<Problem | null>;
  record(address: string): Promise<void>;
}
