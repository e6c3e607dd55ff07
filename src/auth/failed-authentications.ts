export const FAILED_AUTHENTICATIONS = Symbol('FAILED_AUTHENTICATIONS');

/** Port: counts refused keys by network address. Implemented by `rate-limits/`, which stands above this module. */
export interface FailedAuthentications {
  /** Throws a 429 problem when this address has failed too often of late. */
  assertBelowLimit(address: string): Promise<void>;
  record(address: string): Promise<void>;
}
