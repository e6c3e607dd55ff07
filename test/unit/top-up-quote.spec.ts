import { describe, expect, it } from '@jest/globals';
import { cents } from '../../src/platform/common/money.js';
import type { TopUpSettings } from '../../src/platform/config/settings.js';
import { toCheckoutPage } from '../../src/payments/top-ups/top-up-checkout.service.js';
import { CHARGE_MAX_CENTS, formatBps, quoteTopUp } from '../../src/payments/top-ups/quote.js';
import { aTopUp } from '../support/payments/top-up-samples.js';

const DEFAULTS: TopUpSettings = {
  feeBps: 500,
  feeMode: 'on_top',
  feeMinCents: cents(0n),
  minCents: cents(100n),
  maxCents: cents(1_000_000n),
};

function quote(amount: bigint, settings: Partial<TopUpSettings> = {}) {
  return quoteTopUp(cents(amount), { ...DEFAULTS, ...settings });
}

describe('a top-up quote', () => {
  it('puts 5% on top by default: pay 10.50, get 10.00', () => {
    expect(quote(1_000n)).toEqual({
      creditCents: 1_000n,
      feeCents: 50n,
      chargeCents: 1_050n,
      creditMicros: 10_000_000n,
      feeMicros: 500_000n,
      feeMode: 'on_top',
      feeBps: 500,
    });
  });

  it('takes the fee out of what is paid in mode deducted: pay 100, get 95', () => {
    expect(quote(10_000n, { feeMode: 'deducted' })).toMatchObject({
      chargeCents: 10_000n,
      feeCents: 500n,
      creditCents: 9_500n,
      creditMicros: 95_000_000n,
    });
  });

  it.each(['on_top', 'deducted'] as const)(
    'adds up to the cent for every amount from $1.00 to $10,000.00, fee %s',
    (feeMode) => {
      const settings = { ...DEFAULTS, feeMode };
      let count = 0;
      const wrong: bigint[] = [];
      for (let amount = 100n; amount <= 1_000_000n; amount += 1n) {
        const quoted = quoteTopUp(cents(amount), settings);
        const adds =
          quoted !== null &&
          quoted.creditCents + quoted.feeCents === quoted.chargeCents &&
          quoted.creditMicros + quoted.feeMicros === quoted.chargeCents * 10_000n &&
          (feeMode === 'on_top' ? quoted.creditCents : quoted.chargeCents) === amount &&
          // The exact 5%, and less than a cent more.
          quoted.feeCents * 20n >= amount &&
          (quoted.feeCents - 1n) * 20n < amount;
        if (!adds) wrong.push(amount);
        count += 1;
      }
      expect({ count, wrong: wrong.slice(0, 5) }).toEqual({ count: 999_901, wrong: [] });
    },
  );

  it('rounds the fee up to the cent, in favour of the platform', () => {
    expect(quote(101n)?.feeCents).toBe(6n);
    expect(quote(120n)?.feeCents).toBe(6n);
    expect(quote(121n)?.feeCents).toBe(7n);
  });

  it('charges at least the minimum fee', () => {
    expect(quote(500n, { feeMinCents: cents(80n) })?.feeCents).toBe(80n);
    expect(quote(1_600n, { feeMinCents: cents(80n) })?.feeCents).toBe(80n);
    expect(quote(1_601n, { feeMinCents: cents(80n) })?.feeCents).toBe(81n);
  });

  it('sells nothing outside the limits, and everything up to them', () => {
    expect(quote(99n)).toBeNull();
    expect(quote(100n)).not.toBeNull();
    expect(quote(1_000_000n)).not.toBeNull();
    expect(quote(1_000_001n)).toBeNull();
    expect(quote(0n)).toBeNull();
    expect(quote(-100n)).toBeNull();
  });

  it('sells nothing of which the fee would leave no credit', () => {
    expect(quote(100n, { feeMode: 'deducted', feeMinCents: cents(99n) })?.creditCents).toBe(1n);
    expect(quote(100n, { feeMode: 'deducted', feeMinCents: cents(100n) })).toBeNull();
    expect(quote(100n, { feeMode: 'deducted', feeMinCents: cents(500n) })).toBeNull();
  });

  it('sells nothing that costs more than Stripe can charge', () => {
    const unlimited = { maxCents: cents(1_000_000_000n) };
    expect(quote(CHARGE_MAX_CENTS, { ...unlimited, feeMode: 'deducted' })).not.toBeNull();
    expect(quote(CHARGE_MAX_CENTS, { ...unlimited, feeBps: 0 })).not.toBeNull();
    expect(quote(CHARGE_MAX_CENTS, unlimited)).toBeNull();
  });

  it('is free of charge where the fee is set to nothing', () => {
    expect(quote(1_000n, { feeBps: 0 })).toMatchObject({ feeCents: 0n, chargeCents: 1_000n });
  });
});

describe('the payment page', () => {
  const itemsOf = (changes: Parameters<typeof aTopUp>[0]) =>
    toCheckoutPage(aTopUp(changes), 'cus_1').lineItems.map(
      ({ name, amountCents }) => `${name}: ${amountCents}`,
    );
  const amounts = (credit: bigint, fee: bigint) => ({
    creditMicros: credit * 10_000n,
    feeMicros: fee * 10_000n,
    chargeCents: credit + fee,
  });

  it('shows credit and fee as two lines that add up to the charge', () => {
    expect(itemsOf(amounts(1_000n, 50n))).toEqual(['API credit: 1000', 'Platform fee (5%): 50']);
    expect(itemsOf({ ...amounts(9_500n, 500n), feeMode: 'deducted' })).toEqual([
      'API credit: 9500',
      'Platform fee (5%): 500',
    ]);
  });

  it('names no percentage that was not charged, and no fee where there is none', () => {
    expect(itemsOf(amounts(500n, 80n))).toEqual(['API credit: 500', 'Platform fee: 80']);
    expect(itemsOf({ ...amounts(1_000n, 0n), feeBps: 0 })).toEqual(['API credit: 1000']);
  });

  it('spells the percentage as people write it', () => {
    expect([0, 1, 50, 100, 500, 525, 550, 1_250, 5_000].map(formatBps)).toEqual([
      '0%',
      '0.01%',
      '0.5%',
      '1%',
      '5%',
      '5.25%',
      '5.5%',
      '12.5%',
      '50%',
    ]);
  });
});
