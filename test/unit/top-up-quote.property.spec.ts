import { describe, it } from '@jest/globals';
import fc from 'fast-check';
import { cents, type UsdCents } from '../../src/platform/common/money.js';
import type { TopUpSettings } from '../../src/platform/config/settings.js';
import { toCheckoutPage } from '../../src/payments/top-ups/top-up-checkout.service.js';
import { CHARGE_MAX_CENTS, quoteTopUp } from '../../src/payments/top-ups/quote.js';
import { checkProperty } from '../support/property.js';
import { aTopUp } from '../support/payments/top-up-samples.js';

const amounts: fc.Arbitrary<UsdCents> = fc.bigInt({ min: -1_000n, max: 200_000_000n }).map(cents);

/** Everything that the settings reader lets through. */
const settings: fc.Arbitrary<TopUpSettings> = fc
  .record({
    feeBps: fc.integer({ min: 0, max: 5_000 }),
    feeMode: fc.constantFrom('on_top' as const, 'deducted' as const),
    feeMinCents: fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 100_000_000n })).map(cents),
    limits: fc.tuple(
      fc.bigInt({ min: 100n, max: 100_000_000n }),
      fc.bigInt({ min: 100n, max: 100_000_000n }),
    ),
  })
  .map(({ limits: [a, b], ...rest }) => ({
    ...rest,
    minCents: cents(a < b ? a : b),
    maxCents: cents(a < b ? b : a),
  }));

describe('a top-up quote, for any settings', () => {
  it('adds up to the cent and takes the fee that was promised, or is not sold', async () => {
    const property = fc.property(amounts, settings, (amount, limits) => {
      const quote = quoteTopUp(amount, limits);
      if (quote === null) return !isSold(amount, limits);
      const { creditCents, feeCents, chargeCents, creditMicros, feeMicros } = quote;
      const exactShare = amount * BigInt(limits.feeBps);
      return (
        isSold(amount, limits) &&
        creditCents + feeCents === chargeCents &&
        creditMicros + feeMicros === chargeCents * 10_000n &&
        (limits.feeMode === 'on_top' ? creditCents : chargeCents) === amount &&
        feeCents >= limits.feeMinCents &&
        feeCents * 10_000n >= exactShare &&
        (feeCents === limits.feeMinCents || (feeCents - 1n) * 10_000n < exactShare)
      );
    });
    await checkProperty('a quote adds up', property, { runs: 20_000 });
  });

  it('never gives more credit for less money', async () => {
    const property = fc.property(amounts, amounts, settings, (a, b, limits) => {
      const [less, more] = a < b ? [a, b] : [b, a];
      const [small, large] = [quoteTopUp(less, limits), quoteTopUp(more, limits)];
      if (small === null || large === null) return true;
      return small.creditCents <= large.creditCents && small.chargeCents <= large.chargeCents;
    });
    await checkProperty('quotes grow together', property, { runs: 20_000 });
  });

  it('shows on the payment page exactly what is charged', async () => {
    const property = fc.property(amounts, settings, (amount, limits) => {
      const quote = quoteTopUp(amount, limits);
      if (quote === null) return true;
      const items = toCheckoutPage(aTopUp(quote), 'cus_1').lineItems;
      const sum = items.reduce((total, { amountCents }) => total + amountCents, 0n);
      return sum === quote.chargeCents && items.every(({ amountCents }) => amountCents > 0n);
    });
    await checkProperty('the page adds up', property, { runs: 20_000 });
  });
});

/** Said once more, in other words than the quote's own. */
function isSold(
  amount: bigint,
  { minCents, maxCents, feeMode, feeMinCents, feeBps }: TopUpSettings,
): boolean {
  if (amount < minCents || amount > maxCents) return false;
  const scaled = amount * BigInt(feeBps);
  const share = scaled % 10_000n === 0n ? scaled / 10_000n : scaled / 10_000n + 1n;
  const fee = share > feeMinCents ? share : feeMinCents;
  return feeMode === 'on_top' ? amount + fee <= CHARGE_MAX_CENTS : fee < amount && amount <= CHARGE_MAX_CENTS;
}
