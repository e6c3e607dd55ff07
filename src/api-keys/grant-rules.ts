import { ExpiredApiKeyError, InsufficientScopeError, RevokedApiKeyError } from '../auth/auth.errors.js';
import { hasScope, type Principal } from '../auth/principal.js';
import { toUnixSeconds } from '../common/clock.js';
import { InvalidRequestError } from '../problems/common.errors.js';
import { type ApiKey, type NewApiKey, statusOf } from './api-key.js';

/*
 * What a key may pass on: never more than it has. An operator with the scope `admin` gives accounts their
 * keys, so it grants account scopes that no operator key has itself.
 */

/** Throws `InsufficientScopeError` for a scope that the maker lacks, `InvalidRequestError` for a past expiry. */
export function assertMayGrant(
  { scopes, expiresAt }: Pick<NewApiKey, 'scopes' | 'expiresAt'>,
  maker: Principal | null,
  kind: Principal['kind'],
  nowMs: number,
): void {
  if (expiresAt !== null && expiresAt.getTime() <= nowMs) {
    throw new InvalidRequestError('expires_at must be in the future, in Unix seconds.', 'expires_at');
  }
  if (maker === null || maker.kind !== kind) return;
  for (const scope of scopes) {
    if (!hasScope(maker, scope))
      throw new InsufficientScopeError(scope, 'A key grants only scopes that it has.');
  }
}

/** Throws when the key was revoked or expired since it was let in. */
export function assertStillGood(maker: Pick<ApiKey, 'expiresAt' | 'revokedAt'>, nowMs: number): void {
  const status = statusOf(maker, nowMs);
  if (status === 'revoked') throw new RevokedApiKeyError();
  if (status === 'expired') throw new ExpiredApiKeyError();
}

/** A key that ends must not make one that stays. Null never expires. */
export function assertEndsWith(makerExpiresAt: Date | null, expiresAt: Date | null): void {
  if (makerExpiresAt === null) return;
  if (expiresAt !== null && expiresAt.getTime() <= makerExpiresAt.getTime()) return;
  throw new InvalidRequestError(
    `The key that makes this one expires itself: give an expires_at of at most ${toUnixSeconds(makerExpiresAt)}.`,
    'expires_at',
  );
}
