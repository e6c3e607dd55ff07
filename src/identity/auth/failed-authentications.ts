import type { Problem } from '../../platform/errors/problem.js';

export const FAILED_AUTHENTICATIONS = Symbol('FAILED_AUTHENTICATIONS');

/** Port: counts refused keys by network address. Implemented by `rate-limits/`, which stands above this module. */
export interface FailedAuthentications {
  /** The 429 for another bad key of an address that has failed too often of late; null for any other address. */
  refusalFor(address: string): Promise<Problem | null>;
  record(address: string): Promise<void>;
}
