import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { micros } from '../../src/platform/common/money.js';
import { calculateRunway } from '../../src/gateway/usage/runway.js';
import { checkProperty } from '../support/property.js';

const DAY_MS = 86_400_000;
const MIDNIGHT = Date.UTC(2026, 10, 22);

describe('the runway', () => {
  it('is never late: what is spent at its pace until its end is no more than there is', async () => {
    await checkProperty(
      'the runway is never late',
      fc.property(
        fc.bigInt(1n, 10n ** 13n),
        fc.bigInt(1n, 10n ** 13n),
        fc.integer({ min: 0, max: 6 }),
        fc.integer({ min: 0, max: DAY_MS - 1 }),
        (available, charged, daysAgo, sinceMidnight) => {
          const nowMs = MIDNIGHT + sinceMidnight;
          const firstDayMs = MIDNIGHT - daysAgo * DAY_MS;
          const usage = { chargedMicros: micros(charged), firstDayMs };
          const { endsAtMs, perDayMicros } = calculateRunway(micros(available), usage, nowMs);
          if (endsAtMs === null) return;
          const basisMs = BigInt(Math.max(nowMs - firstDayMs, DAY_MS));
          expect(BigInt(endsAtMs - nowMs) * charged).toBeLessThanOrEqual(available * basisMs);
          expect(perDayMicros * basisMs).toBeGreaterThanOrEqual(charged * BigInt(DAY_MS));
        },
      ),
      { runs: 100 },
    );
  });
});
