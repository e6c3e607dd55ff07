import { describe, expect, it } from '@jest/globals';
import { cents } from '../../src/platform/common/money.js';
import { quoteTopUp } from '../../src/payments/top-ups/quote.js';

describe('the platform fee', () => {
  it('is 5% of the credit, rounded up to the cent', () => {
    const settings = {
      feeMode: 'on_top',
      feeBps: 500,
      feeMinCents: cents(0n),
      minCents: cents(100n),
      maxCents: cents(1_000_000n),
    } as const;
    expect(quoteTopUp(cents(1_001n), settings)).toMatchObject({ feeCents: 51n, chargeCents: 1_052n });
  });
});
