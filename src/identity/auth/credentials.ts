import type { Principal } from './principal.js';

/** An API key as stored, whatever its state. */
export type Credential = {
  readonly principal: Principal;
  /** Unix milliseconds; null never expires. */
  readonly expiresAtMs: number | null;
  readonly revoked: boolean;
};

export const CREDENTIALS = Symbol('CREDENTIALS');

/** Port: where API keys are kept. Implemented by `api-keys/`, which stands above this module. */
export interface Credentials {
  /**
   * The credentials behind these SHA-256 hashes (hexadecimal), by hash; unknown ones are absent. The answer
   * must show every revocation that was committed before the call.
   */
  findByHashes(hashes: readonly string[]): Promise<ReadonlyMap<string, Credential>>;
}
