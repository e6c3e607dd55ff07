import {
  type AdjustableLimit,
  ADJUSTABLE_LIMITS,
  type LimitNumbers,
  RATE_LIMIT_POLICIES,
  type RateLimitName,
} from './rate-limit-policies.js';

/** Numbers that an operator set; absent ones have their default. */
export type OwnNumbers = { readonly [Limit in AdjustableLimit]?: number };

/** The limits that an operator set for one account. */
export type OwnLimits = OwnNumbers | null;

export const ACCOUNT_LIMITS = Symbol('ACCOUNT_LIMITS');

/** Port for the limits of single accounts. Without an implementation, all accounts have the default limits. */
export interface AccountLimits {
  /**
   * Returns null for an account with the default limits. It is synchronous for an account that calls often, and never rejects:
   * while the database is unavailable, the last known limits apply.
   */
  find(accountId: string): OwnLimits | Promise<OwnLimits>;
}

/** Returns the default numbers, unless an operator set others. */
export function getLimitNumbers(name: RateLimitName, own: OwnLimits): LimitNumbers {
  const set = isAdjustable(name) ? own?.[name] : undefined;
  // An account's number applies to all of its keys together: a single key may use it up.
  return set === undefined ? RATE_LIMIT_POLICIES[name] : { perKey: set, perAccount: set };
}

function isAdjustable(name: RateLimitName): name is AdjustableLimit {
  return (ADJUSTABLE_LIMITS as readonly string[]).includes(name);
}
