import {
  type AdjustableLimit,
  ADJUSTABLE_LIMITS,
  type LimitNumbers,
  RATE_LIMIT_POLICIES,
  type RateLimitName,
} from './rate-limit-policies.js';

/** Numbers that somebody set; what is absent is as for everybody. */
export type OwnNumbers = { readonly [Limit in AdjustableLimit]?: number };

/** What an operator set for one account. */
export type OwnLimits = OwnNumbers | null;

export const ACCOUNT_LIMITS = Symbol('ACCOUNT_LIMITS');

/** Port: limits of single accounts. Without anybody behind it all accounts are alike. */
export interface AccountLimits {
  /**
   * Null for an account like all others. Synchronous for an account that calls; never rejects: while the
   * database is away, what was known last is in force.
   */
  find(accountId: string): OwnLimits | Promise<OwnLimits>;
}

/** For everybody, unless somebody set it otherwise. */
export function numbersOf(name: RateLimitName, own: OwnLimits): LimitNumbers {
  const set = isAdjustable(name) ? own?.[name] : undefined;
  // An account's number is for all of it: with a single key, that key may use it up.
  return set === undefined ? RATE_LIMIT_POLICIES[name] : { perKey: set, perAccount: set };
}

function isAdjustable(name: RateLimitName): name is AdjustableLimit {
  return (ADJUSTABLE_LIMITS as readonly string[]).includes(name);
}
