import { timingSafeEqual } from 'node:crypto';
import { InvalidSettingsError } from '../../platform/config/environment-reader.js';
import type { Settings } from '../../platform/config/settings.js';
import { hashApiKey, parseApiKey } from './api-key-format.js';
import { OPERATOR_SCOPES, type OperatorPrincipal } from './principal.js';

/** Outside production any text of this length is accepted, so that scripts and tests may use a readable one. */
const LENGTH_MIN = 16;
/** Short enough for any header; see `TOKEN_LENGTH_MAX`. */
const LENGTH_MAX = 200;
const VISIBLE_ASCII = /^[\x21-\x7e]+$/;

const PRINCIPAL: OperatorPrincipal = {
  kind: 'operator_key',
  keyId: 'key_env',
  scopes: new Set(OPERATOR_SCOPES),
};

/**
 * The operator key of `COFFER_OPERATOR_KEY`: it has all operator scopes, is not in the database, and is revoked by a restart
 * with another value. The first operator creates the other keys with it.
 */
export class EnvironmentOperatorKey {
  private readonly hash: Buffer | null;

  /** Throws `InvalidSettingsError` for a value that is too weak to be trusted. */
  constructor({ operatorKey, environment }: Pick<Settings, 'operatorKey' | 'environment'>) {
    if (operatorKey !== null && environment === 'production' && parseApiKey(operatorKey) !== 'operator_key') {
      throw new InvalidSettingsError([
        'COFFER_OPERATOR_KEY must be a whole operator key (op-cof-…) in production; `coffer operator-key` makes one',
      ]);
    }
    if (operatorKey !== null && !isLongEnough(operatorKey)) {
      throw new InvalidSettingsError([
        `COFFER_OPERATOR_KEY must have ${LENGTH_MIN} to ${LENGTH_MAX} visible ASCII characters`,
      ]);
    }
    this.hash = operatorKey === null ? null : Buffer.from(hashApiKey(operatorKey), 'hex');
  }

  /**
   * Returns the principal, if this is the hash of that key. It is compared in constant time, because unlike the keys in the
   * database, this one may be text that a person chose.
   */
  match(hash: string): OperatorPrincipal | null {
    return this.hash !== null && timingSafeEqual(this.hash, Buffer.from(hash, 'hex')) ? PRINCIPAL : null;
  }
}

function isLongEnough(value: string): boolean {
  return value.length >= LENGTH_MIN && value.length <= LENGTH_MAX && VISIBLE_ASCII.test(value);
}
