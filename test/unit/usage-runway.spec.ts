import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { micros } from '../../src/common/money.js';
import { RUNWAY_DAYS, runwayOf } from '../../src/usage/runway.js';

const DAY_MS = 86_400_000;
const MIDNIGHT = Date.UTC(2026, 10, 22);
const NOON = MIDNIGHT + DAY_MS / 2;

function runway(available: bigint, charged: bigint, daysAgo: number | null, nowMs = NOON) {
  const firstDayMs = daysAgo === null ? null : MIDNIGHT - daysAgo * DAY_MS;
  return runwayOf(micros(available), { chargedMicros: micros(charged), firstDayMs }, nowMs);
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

  it('is never late: what is spent at its pace until its end is no more than there is', () => {
    fc.assert(
      fc.property(
        fc.bigInt(1n, 10n ** 13n),
        fc.bigInt(1n, 10n ** 13n),
        fc.integer({ min: 0, max: 6 }),
        fc.integer({ min: 0, max: DAY_MS - 1 }),
        (available, charged, daysAgo, sinceMidnight) => {
          const nowMs = MIDNIGHT + sinceMidnight;
          const { endsAtMs, perDayMicros } = runway(available, charged, daysAgo, nowMs);
          if (endsAtMs === null) return;
          const basisMs = BigInt(Math.max(nowMs - (MIDNIGHT - daysAgo * DAY_MS), DAY_MS));
          expect(BigInt(endsAtMs - nowMs) * charged).toBeLessThanOrEqual(available * basisMs);
          expect(perDayMicros * basisMs).toBeGreaterThanOrEqual(charged * BigInt(DAY_MS));
        },
      ),
    );
  });
});
