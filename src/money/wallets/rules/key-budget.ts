import {
  getPeriodEnd,
  NO_LIMITS,
  type DayUse,
  type KeyBudget,
  type LimitPeriod,
} from '../../../identity/api-keys/key-budget.js';
import { micros, ZERO, type MicroUsd } from '../../../platform/common/money.js';
import { formatUtcDate } from '../../../platform/common/clock.js';

/** A limit that the requested amount would exceed. */
export type ReachedLimit = {
  readonly keyId: string;
  readonly period: LimitPeriod;
  readonly limitMicros: MicroUsd;
  readonly usedMicros: MicroUsd;
  /** When use is counted from zero again; null for a limit that never resets. */
  readonly resetsAtMs: number | null;
};

/** The day of a budget without any use. */
const NEVER = '1970-01-01';

export function utcDay(timeMs: number): string {
  return formatUtcDate(new Date(timeMs));
}

/** How the ledger names a key that acts; see `toActor`. */
export const keyActor = (keyId: string): string => `account_key:${keyId}`;

const toMonth = (day: string): string => day.slice(0, 7);

/** A budget without limits, with what the key has used so far. Its time is that of the last use. */
export function toBudgetOfUse(keyId: string, uses: readonly DayUse[]): KeyBudget {
  const day = uses.reduce((last, use) => (use.day > last ? use.day : last), NEVER);
  const sum = (isCounted: (use: DayUse) => boolean): MicroUsd =>
    uses.filter(isCounted).reduce((total, { usedMicros }) => micros(total + usedMicros), ZERO);
  const used = {
    day: sum((use) => use.day === day),
    month: sum((use) => toMonth(use.day) === toMonth(day)),
    total: sum(() => true),
  };
  return { keyId, limits: NO_LIMITS, day, used };
}

export function isLimited({ limits }: KeyBudget): boolean {
  return limits.day !== null || limits.month !== null || limits.total !== null;
}

/** When the budget's day begins. The clocks of several processes differ, and the time of a budget never runs backwards. */
export function getStart(budget: KeyBudget): number {
  return Date.parse(budget.day);
}

/** The budget at a time, without the use of a day or a month that is over. */
export function atTime(budget: KeyBudget, timeMs: number): KeyBudget {
  const day = utcDay(timeMs);
  if (day <= budget.day) return budget;
  const month = toMonth(day) === toMonth(budget.day) ? budget.used.month : ZERO;
  return { ...budget, day, used: { ...budget.used, day: ZERO, month } };
}

/** Returns the limit that `amountMicros` would exceed; of several, the one that lasts longest, because the end of another would not help. */
export function reachedLimit(budget: KeyBudget, amountMicros: MicroUsd): ReachedLimit | null {
  for (const period of ['total', 'month', 'day'] as const) {
    const limitMicros = budget.limits[period];
    const usedMicros = budget.used[period];
    if (limitMicros !== null && usedMicros + amountMicros > limitMicros) {
      return {
        keyId: budget.keyId,
        period,
        limitMicros,
        usedMicros,
        resetsAtMs: getPeriodEnd(budget, period),
      };
    }
  }
  return null;
}

export function take(budget: KeyBudget, amountMicros: MicroUsd): KeyBudget {
  const { day, month, total } = budget.used;
  const used = {
    day: micros(day + amountMicros),
    month: micros(month + amountMicros),
    total: micros(total + amountMicros),
  };
  return { ...budget, used };
}

/** Gives back what was taken at a time: to the day and the month of that time, while they are those of the budget. */
export function giveBack(budget: KeyBudget, amountMicros: MicroUsd, takenAtMs: number): KeyBudget {
  const takenOn = utcDay(takenAtMs);
  const { day, month, total } = budget.used;
  const used = {
    day: takenOn === budget.day ? micros(day - amountMicros) : day,
    month: toMonth(takenOn) === toMonth(budget.day) ? micros(month - amountMicros) : month,
    total: micros(total - amountMicros),
  };
  return { ...budget, used };
}
