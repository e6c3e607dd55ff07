import type { AuditActor } from '../audit-log/audit-event.js';
import type { MicroUsd } from '../../platform/common/money.js';
import type { Tx } from '../../platform/database/transaction-runner.js';

/** Days and months are those of UTC. */
export type LimitPeriod = 'day' | 'month' | 'total';

/** What an API key may spend; null is no limit. */
export type SpendLimits = Readonly<Record<LimitPeriod, MicroUsd | null>>;

export const NO_LIMITS: SpendLimits = { day: null, month: null, total: null };

/**
 * What an API key may spend, and what it has used: captured, debited, or set aside by open holds. A hold counts in
 * the day and month in which it was authorized, whenever it is captured.
 */
export type KeyBudget = {
  readonly keyId: string;
  readonly limits: SpendLimits;
  /** The UTC day (`2026-11-22`) that `used.day` counts; `used.month` counts the month that it is in. */
  readonly day: string;
  readonly used: Readonly<Record<LimitPeriod, MicroUsd>>;
};

/** What a key used in one UTC day, or a part of it. */
export type DayUse = { readonly day: string; readonly usedMicros: MicroUsd };

/** What a key used in the rows of its account's chain up to `throughSeq`: they never change, so no lock was needed. */
export type CountedUse = { readonly throughSeq: number; readonly days: readonly DayUse[] };

/** The end of the budget's day or month, in Unix milliseconds; null for all time. */
export function endOf({ day }: Pick<KeyBudget, 'day'>, period: LimitPeriod): number | null {
  if (period === 'total') return null;
  const start = new Date(day);
  return period === 'day'
    ? Date.UTC(start.getUTCFullYear(), start.getUTCMonth(), start.getUTCDate() + 1)
    : Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 1);
}

export const KEY_BUDGETS = Symbol('KEY_BUDGETS');

/** Port: what the API keys of an account may spend, and have spent. Implemented by `money/spend-limits/`, which is above this module. */
export interface KeyBudgets {
  /** By the key's id, as of now; a key without limits is not among them. */
  find(accountId: string, keyIds: readonly string[]): Promise<ReadonlyMap<string, KeyBudget>>;
  /** The limits alone, as they are now. */
  findLimits(tx: Tx, accountId: string, keyId: string): Promise<SpendLimits>;
  /** What a key has used until now, counted without a lock: for `set`, which then counts only what has come since. */
  count(accountId: string, keyId: string): Promise<CountedUse | null>;
  /**
   * Changes limits; those that are left out stay, and null takes one away. What the key has used until then counts
   * from the first limit on. Whoever spends with the key after this has resolved is held to it, in any process.
   * The caller has made sure that the key is the account's. Answers null when no limit is left.
   *
   * @param counted by `count`; asked for when it is left out.
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
