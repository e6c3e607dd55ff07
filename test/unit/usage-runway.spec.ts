import { describe, expect, it } from '@jest/globals';
import { micros } from '../../src/platform/common/money.js';
import { RUNWAY_DAYS, calculateRunway } from '../../src/gateway/usage/runway.js';

const DAY_MS = 86_400_000;
const MIDNIGHT = Date.UTC(2026, 10, 22);
const NOON = MIDNIGHT + DAY_MS / 2;

function runway(available: bigint, charged: bigint, daysAgo: number | null, nowMs = NOON) {
  const firstDayMs = daysAgo === null ? null : MIDNIGHT - daysAgo * DAY_MS;
  return calculateRunway(micros(available), { chargedMicros: micros(charged), firstDayMs }, nowMs);
}

describe('the runway', () => {
  it('has no end where nothing was spent', () => {
    expect(runway(5_000_000n, 0n, null)).toEqual({ perDayMicros: 0n, endsAtMs: null, basisDays: 0 });
  });

  it('is the credit at the mean pace of the last days', () => {
    // $6.50 in six and a half days is a dollar a day, and ten dollars last for ten days.
    expect(runway(10_000_000n, 6_500_000n, 6)).toEqual({
      perDayMicros: 1_000_000n,
      endsAtMs: NOON + 10 * DAY_MS,
      basisDays: RUNWAY_DAYS,
    });
  });

  it('counts from the first day with a charge, so that a new customer is not shown a seventh of the pace', () => {
    expect(runway(3_000_000n, 3_000_000n, 1)).toEqual({
      perDayMicros: 2_000_000n,
      endsAtMs: NOON + 1.5 * DAY_MS,
      basisDays: 2,
    });
  });

  it('takes a first hour for a day, not for a twenty-fourth of one', () => {
    const inTheFirstHour = MIDNIGHT + 3_600_000;
    expect(runway(4_000_000n, 1_000_000n, 0, inTheFirstHour)).toEqual({
      perDayMicros: 1_000_000n,
      endsAtMs: inTheFirstHour + 4 * DAY_MS,
      basisDays: 1,
    });
  });

  it('is over now where the credit is, also below zero', () => {
    expect(runway(0n, 1_000_000n, 6).endsAtMs).toBe(NOON);
    expect(runway(-1n, 1_000_000n, 6).endsAtMs).toBe(NOON);
  });

  it('names no day that is more than ten years off', () => {
    expect(runway(1_000_000_000n, 1n, 6).endsAtMs).toBeNull();
  });
});
