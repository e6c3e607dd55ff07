import { divCeil, divFloor, micros, ZERO, type MicroUsd } from '../../platform/common/money.js';

const DAY_MS = 86_400_000n;
/** The pace is that of today and the six UTC days before. */
export const RUNWAY_DAYS = 7;
/** Further off than this is no forecast. */
const FORESEEN_MS = 3_650n * DAY_MS;

export type Spending = {
  /** Charged in the last `RUNWAY_DAYS` UTC days, today included. */
  readonly chargedMicros: MicroUsd;
  /** Midnight (UTC) of the first of these days that something was charged in; null: none was. */
  readonly firstDayMs: number | null;
};

export type Runway = {
  readonly perDayMicros: MicroUsd;
  /** Null: nothing is spent, or the credit lasts for more than ten years. */
  readonly endsAtMs: number | null;
  /** Over how many UTC days the pace was taken; 0 when nothing was spent. */
  readonly basisDays: number;
};

/**
 * When the credit ends at the pace of the last days: the plain mean since the first day with a charge, at most seven
 * days back. It is taken over a day at least, so that a customer's first hour does not look like twenty-four.
 * The pace is rounded up and the end down: a forecast may be early, never late. Lapsing credit and top-ups to come are not in it.
 */
export function runwayOf(
  availableMicros: MicroUsd,
  { chargedMicros, firstDayMs }: Spending,
  nowMs: number,
): Runway {
  if (firstDayMs === null || chargedMicros <= 0n) return { perDayMicros: ZERO, endsAtMs: null, basisDays: 0 };
  const sinceMs = BigInt(nowMs - firstDayMs);
  const basisMs = sinceMs > DAY_MS ? sinceMs : DAY_MS;
  const leftMs = availableMicros <= 0n ? 0n : divFloor(availableMicros * basisMs, chargedMicros);
  return {
    perDayMicros: micros(divCeil(chargedMicros * DAY_MS, basisMs)),
    endsAtMs: leftMs > FORESEEN_MS ? null : nowMs + Number(leftMs),
    basisDays: Number(divFloor(sinceMs > 0n ? sinceMs : 0n, DAY_MS)) + 1,
  };
}
