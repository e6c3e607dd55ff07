import { divCeil, divFloor, micros, ZERO, type MicroUsd } from '../../platform/common/money.js';

const DAY_MS = 86_400_000n;
/** The pace is calculated from today and the six UTC days before. */
export const RUNWAY_DAYS = 7;
/** A later end is not forecast. */
const FORESEEN_MS = 3_650n * DAY_MS;

export type Spending = {
  /** What was charged in the last `RUNWAY_DAYS` UTC days, including today. */
  readonly chargedMicros: MicroUsd;
  /** Midnight (UTC) of the first of these days with a charge; null when there was none. */
  readonly firstDayMs: number | null;
};

export type Runway = {
  readonly perDayMicros: MicroUsd;
  /** Null when nothing is spent or the credit lasts for more than ten years. */
  readonly endsAtMs: number | null;
  /** The number of UTC days from which the pace was calculated; 0 when nothing was spent. */
  readonly basisDays: number;
};

/**
 * Calculates when the credit ends at the pace of the last days, which is the mean since the first day with a charge, at most seven days
 * back. The mean covers at least one day, so that a customer's first hour is not multiplied by twenty-four. The pace is rounded up and
 * the end down, so a forecast may be early but never late. Expiring credit and future top-ups are not included.
 */
export function calculateRunway(
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
