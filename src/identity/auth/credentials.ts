import type { Principal } from './principal.js';

/** An API key as it is stored, in any state. */
export type Credential = {
  readonly principal: Principal;
  /** Unix milliseconds; null means that it never expires. */
  readonly expiresAtMs: number | null;
  readonly revoked: boolean;
};

export const CREDENTIALS = Symbol('CREDENTIALS');

/** Port for the storage of API keys. `api-keys/` implements it, which is above this module. */
export interface Credentials {
  /**
   * Returns the credentials for these SHA-256 hashes (hexadecimal), by hash; unknown ones are missing. The answer
   * must show every revocation that was committed before the call.
   */
  findByHashes(hashes: readonly string[]): Promise<ReadonlyMap<string, Credential>>;
}
