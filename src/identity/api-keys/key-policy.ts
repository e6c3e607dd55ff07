import { ExpiredApiKeyError, InsufficientScopeError, RevokedApiKeyError } from '../auth/auth.errors.js';
import type { Scope } from '../auth/principal.js';
import { toUnixSeconds } from '../../platform/common/clock.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import type { LimitPeriod, SpendLimits } from './key-budget.js';
import { type ApiKey, getKeyStatus, type NewApiKey } from './api-key.js';
import { KeyHasDescendantsError, LimitedKeyError } from './api-key.errors.js';

/*
 * A key can never extend its own rights, or its maker's rights, by any sequence of requests:
 *
 * 1. It makes only keys of its own owner, with scopes that it has, that end no later than it does.
 * 2. It is limited when it, or any key that it descends from, has spend limits. A limited key changes no key and makes
 *    none that could spend or make keys.
 * 3. A limit is set only on a key of which no descendant can spend or make keys any more. With rule 2, such a key is the
 *    only one of its line that spends, so its limit is the limit of all of them together.
 * 4. A key raises a limit only if it may spend itself.
 *
 * Operators are above accounts: with `admin` they give accounts keys of any scope and set any limit. Rule 3 applies
 * to them as well, because without it a limit that they set would have no effect.
 */

/** Scopes by which a key spends from the wallet, itself or through a key that it makes. */
export const SPENDING_SCOPES = ['generate', 'keys:write'] as const satisfies readonly Scope[];

/** What the rules need to know of a requesting key; it is read in the tx that makes the change, under the lock of its row. */
export type KeyFacts = Pick<ApiKey, 'accountId' | 'scopes' | 'expiresAt' | 'revokedAt'> & {
  /** The key, or one that it descends from, has spend limits. */
  readonly limited: boolean;
};

/**
 * Throws unless a key may be made.
 *
 * @param maker null for the service itself, or for the operator key of the environment, which has every scope.
 * @param owner the new key's account; null for an operator key.
 * @throws InvalidRequestError (expiry), RevokedApiKeyError, ExpiredApiKeyError, InsufficientScopeError, LimitedKeyError.
 */
export function assertMayCreate(
  request: Pick<NewApiKey, 'scopes' | 'expiresAt'>,
  owner: string | null,
  maker: KeyFacts | null,
  nowMs: number,
): void {
  const { scopes, expiresAt } = request;
  if (expiresAt !== null && expiresAt.getTime() <= nowMs) {
    throw new InvalidRequestError('expires_at must be in the future, in Unix seconds.', 'expires_at');
  }
  if (maker === null) return;
  assertActive(maker, nowMs);
  if (maker.accountId === null && owner !== null) return;
  if (maker.accountId !== owner) throw new Error('a key makes keys of its own owner only');
  for (const scope of scopes) {
    if (!maker.scopes.includes(scope)) {
      throw new InsufficientScopeError(scope, 'A key grants only scopes that it has.');
    }
  }
  if (maker.limited && canSpend(scopes)) throw new LimitedKeyError();
  assertEndsWith(maker.expiresAt, expiresAt);
}

export type LimitChange = {
  readonly before: SpendLimits;
  readonly after: SpendLimits;
  /** Descendants of the key, neither revoked nor expired, that can spend or make keys. */
  readonly spendingDescendants: readonly string[];
};

/**
 * Throws unless the spend limits of a key may be changed.
 *
 * @param asker null for the operator key of the environment.
 * @throws RevokedApiKeyError, ExpiredApiKeyError, LimitedKeyError, InsufficientScopeError, KeyHasDescendantsError.
 */
export function assertMayLimit(change: LimitChange, asker: KeyFacts | null, nowMs: number): void {
  const { before, after, spendingDescendants } = change;
  if (asker !== null) assertActive(asker, nowMs);
  if (asker !== null && asker.accountId !== null) {
    if (asker.limited) throw new LimitedKeyError();
    if (allowsMore(before, after) && !asker.scopes.includes('generate')) {
      throw new InsufficientScopeError('generate', 'Only a key that may spend lets another one spend more.');
    }
  }
  const isLimit = PERIODS.some((period) => after[period] !== null);
  if (isLimit && spendingDescendants.length > 0) throw new KeyHasDescendantsError(spendingDescendants);
}

/**
 * Throws unless other settings of a key may be changed. They do not allow more spending, but a limited key may change no key.
 *
 * @param asker null for the operator key of the environment.
 * @throws RevokedApiKeyError, ExpiredApiKeyError, LimitedKeyError.
 */
export function assertMayUpdate(asker: KeyFacts | null, nowMs: number): void {
  if (asker === null) return;
  assertActive(asker, nowMs);
  if (asker.limited) throw new LimitedKeyError();
}

export type Revocation = {
  /** The value in the request; undefined when it has none. */
  readonly requested: boolean | undefined;
  readonly keyId: string;
  readonly askerId: string;
  /** Descendants of the key, neither revoked nor expired. */
  readonly livingDescendants: readonly string[];
};

/**
 * Returns whether the descendants of a key are revoked with it. By default they are: an attacker who has a leaked key also has
 * the keys that it made, and these would outlive it. But where the key itself or one of its descendants asks, this is as likely
 * a rotation, and the default would revoke the successor with its predecessor; in that case the request has to say.
 *
 * @throws InvalidRequestError (`with_descendants`); nothing is revoked then.
 */
export function revokesDescendants({ requested, keyId, askerId, livingDescendants }: Revocation): boolean {
  if (requested !== undefined || livingDescendants.length === 0) return requested ?? true;
  if (askerId !== keyId && !livingDescendants.includes(askerId)) return true;
  const count = livingDescendants.length;
  throw new InvalidRequestError(
    `The key has made ${count} ${count === 1 ? 'key' : 'keys'} that would be revoked with it, and the key that asks is one ` +
      'of this line. Send with_descendants=true to revoke them all, or with_descendants=false to revoke this key alone. ' +
      'Nothing was revoked.',
    'with_descendants',
  );
}

const PERIODS: readonly LimitPeriod[] = ['day', 'month', 'total'];

/** Returns whether any limit is raised or removed. */
export function allowsMore(before: SpendLimits, after: SpendLimits): boolean {
  return PERIODS.some((period) => {
    const [old, next] = [before[period], after[period]];
    return old !== null && (next === null || next > old);
  });
}

export function canSpend(scopes: readonly Scope[]): boolean {
  return scopes.some((scope) => (SPENDING_SCOPES as readonly Scope[]).includes(scope));
}

/** Throws when the key was revoked or expired after its request was authenticated. */
function assertActive(key: Pick<ApiKey, 'expiresAt' | 'revokedAt'>, nowMs: number): void {
  const status = getKeyStatus(key, nowMs);
  if (status === 'revoked') throw new RevokedApiKeyError();
  if (status === 'expired') throw new ExpiredApiKeyError();
}

/** A key that expires must not make one that lasts longer. Null never expires. */
function assertEndsWith(makerExpiresAt: Date | null, expiresAt: Date | null): void {
  if (makerExpiresAt === null) return;
  if (expiresAt !== null && expiresAt.getTime() <= makerExpiresAt.getTime()) return;
  throw new InvalidRequestError(
    `The key that makes this one expires itself: give an expires_at of at most ${toUnixSeconds(makerExpiresAt)}.`,
    'expires_at',
  );
}
