import type { AuditActor } from '../audit-log/audit-event.js';
import type { MicroUsd } from '../../platform/common/money.js';
import type { Tx } from '../../platform/database/transaction-runner.js';

/** Days and months are in UTC. */
export type LimitPeriod = 'day' | 'month' | 'total';

/** What an API key may spend; null means no limit. */
export type SpendLimits = Readonly<Record<LimitPeriod, MicroUsd | null>>;

export const NO_LIMITS: SpendLimits = { day: null, month: null, total: null };

/**
 * What an API key may spend, and what it has used: captured, debited, or reserved by open holds. A hold counts in the day
 * and month in which it was authorized, even if it is captured later.
 */
export type KeyBudget = {
  readonly keyId: string;
  readonly limits: SpendLimits;
  /** The UTC day (`2026-11-22`) that `used.day` counts; `used.month` counts the month that contains it. */
  readonly day: string;
  readonly used: Readonly<Record<LimitPeriod, MicroUsd>>;
};

/** What a key used in one UTC day, or in a part of it. */
export type DayUse = { readonly day: string; readonly usedMicros: MicroUsd };

/** What a key used in the rows of its account's chain up to `throughSeq`. Those rows never change, so no lock was needed. */
export type CountedUse = { readonly throughSeq: number; readonly days: readonly DayUse[] };

/** Returns the end of the budget's day or month, in Unix milliseconds; null for the total, which never ends. */
export function getPeriodEnd({ day }: Pick<KeyBudget, 'day'>, period: LimitPeriod): number | null {
  if (period === 'total') return null;
  const start = new Date(day);
  return period === 'day'
    ? Date.UTC(start.getUTCFullYear(), start.getUTCMonth(), start.getUTCDate() + 1)
    : Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 1);
}

export const KEY_BUDGETS = Symbol('KEY_BUDGETS');

/** Port for what the API keys of an account may spend, and have spent. `money/spend-limits/` implements it, which is above this module. */
export interface KeyBudgets {
  /** Returns the present budgets by the key's id; a key without limits is missing. */
  find(accountId: string, keyIds: readonly string[]): Promise<ReadonlyMap<string, KeyBudget>>;
  /** Returns only the limits, as they are now. */
  findLimits(tx: Tx, accountId: string, keyId: string): Promise<SpendLimits>;
  /** Counts, without a lock, what a key has used until now. `set` then counts only later usage. */
  count(accountId: string, keyId: string): Promise<CountedUse | null>;
  /**
   * Changes limits; absent ones are kept, and null removes one. What the key used before counts from the first limit
   * on. After this has resolved, every process applies the limits to every request with the key.
   * The caller has checked that the key belongs to the account. Returns null when no limit is left.
   *
   * @param counted the result of `count`; it is called when this is absent.
   * @param before the limits that are changed, for the audit log.
   */
  set(
    accountId: string,
    keyId: string,
    limits: Partial<SpendLimits>,
    by: AuditActor,
    counted?: CountedUse | null,
    before?: SpendLimits,
  ): Promise<KeyBudget | null>;
}
