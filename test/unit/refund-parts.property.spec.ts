import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { cents, divHalfUp } from '../../src/platform/common/money.js';
import { quoteTopUp } from '../../src/payments/top-ups/quote.js';
import {
  computeCharge,
  partsFor,
  partsOfAmount,
  type Parts,
} from '../../src/money/wallets/rules/payment-parts.js';
import { checkProperty, amountStep } from '../support/property.js';

const NOTHING: Parts = { creditCents: cents(0n), feeCents: cents(0n), taxCents: cents(0n) };

const paid: fc.Arbitrary<Parts> = fc.record({
  creditCents: fc.bigInt({ min: 1n, max: 99_999_999n }).map(cents),
  feeCents: fc.bigInt({ min: 0n, max: 5_000_000n }).map(cents),
  taxCents: fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 9_000_000n })).map(cents),
});

/** Wishes, as shares of what is left, in ten-thousandths; the last one takes the rest. */
const wishes = fc.array(fc.bigInt({ min: 1n, max: 10_000n }), { maxLength: 12 });

const plus = (a: Parts, b: Parts): Parts => ({
  creditCents: cents(a.creditCents + b.creditCents),
  feeCents: cents(a.feeCents + b.feeCents),
  taxCents: cents(a.taxCents + b.taxCents),
});

const PARTS = ['creditCents', 'feeCents', 'taxCents'] as const;
const areEqual = (a: Parts, b: Parts): boolean => PARTS.every((part) => a[part] === b[part]);
const isWithin = (a: Parts, b: Parts): boolean => PARTS.every((part) => a[part] <= b[part]);

describe('the parts of refunds', () => {
  it('add up to the parts of the payment, to the cent, however it is divided', async () => {
    const property = fc.property(paid, wishes, (payment, shares) => {
      let returned = NOTHING;
      for (const share of [...shares, 10_000n]) {
        const left = payment.creditCents - returned.creditCents;
        if (left === 0n) break;
        const wish = cents((left * share) / 10_000n || 1n);
        const parts = partsFor(wish, payment, returned);
        if (parts === null || parts.creditCents !== wish || !isWithin(NOTHING, parts)) return false;
        returned = plus(returned, parts);
        // After each refund, what came back of fee and tax is its exact share, rounded once, so neither side is a cent ahead.
        for (const part of ['feeCents', 'taxCents'] as const) {
          const off = (payment[part] * returned.creditCents - returned[part] * payment.creditCents) * 2n;
          if (off > payment.creditCents || -off > payment.creditCents) return false;
        }
      }
      return areEqual(returned, payment);
    });
    await checkProperty('refunds add up to their payment', property, { runs: 2_000 });
  });

  it('never exceed the payment when some of the refunds fail and their parts are free again', async () => {
    const outcomes = fc.array(fc.tuple(fc.bigInt({ min: 1n, max: 10_000n }), fc.boolean()), {
      minLength: 1,
      maxLength: 15,
    });
    const property = fc.property(paid, outcomes, (payment, history) => {
      let live: Parts[] = [];
      const sum = () => live.reduce(plus, NOTHING);
      for (const [share, earlierFails] of history) {
        if (earlierFails) live = live.slice(1);
        const left = payment.creditCents - sum().creditCents;
        if (left === 0n) continue;
        const parts = partsFor(cents((left * share) / 10_000n || 1n), payment, sum());
        if (parts === null) return false;
        live.push(parts);
        if (!isWithin(sum(), payment)) return false;
      }
      const rest = payment.creditCents - sum().creditCents;
      const last = rest === 0n ? NOTHING : partsFor(cents(rest), payment, sum());
      return last !== null && computeCharge(plus(sum(), last)) <= computeCharge(payment);
    });
    await checkProperty('failed refunds give their parts back', property, { runs: 2_000 });
  });

  it('of an amount chosen at Stripe are that amount, and add up as well', async () => {
    const property = fc.property(paid, wishes, (payment, shares) => {
      let returned = NOTHING;
      for (const share of [...shares, 10_000n]) {
        const left = computeCharge(payment) - computeCharge(returned);
        if (left === 0n) break;
        const amount = cents((left * share) / 10_000n || 1n);
        const parts = partsOfAmount(amount, payment, returned);
        // Where the last cents are all fee, no credit is left to go with them: a person decides.
        if (parts === null) return returned.creditCents === payment.creditCents;
        if (computeCharge(parts) !== amount || parts.creditCents < 1n || !isWithin(NOTHING, parts))
          return false;
        returned = plus(returned, parts);
        if (!isWithin(returned, payment)) return false;
      }
      return areEqual(returned, payment);
    });
    await checkProperty('amounts chosen at Stripe add up', property, { runs: 2_000 });
  });

  it('are none when nothing is asked for, or more than is left', () => {
    const payment: Parts = { creditCents: cents(1_000n), feeCents: cents(50n), taxCents: cents(87n) };
    const half: Parts = { creditCents: cents(500n), feeCents: cents(25n), taxCents: cents(43n) };
    const rest: Parts = { ...half, taxCents: cents(44n) };
    expect(partsFor(cents(0n), payment, NOTHING)).toBeNull();
    expect(partsFor(cents(-1n), payment, NOTHING)).toBeNull();
    expect(partsFor(cents(501n), payment, half)).toBeNull();
    expect(partsFor(cents(500n), payment, half)).toEqual(rest);
    expect(partsOfAmount(cents(570n), payment, half)).toBeNull();
    expect(partsOfAmount(cents(569n), payment, half)).toEqual(rest);
  });

  it.each([
    ['on_top', 0n],
    ['on_top', 825n],
    ['deducted', 0n],
    ['deducted', 825n],
  ] as const)(
    'add up for every payment from $1.00 to $10,000.00, fee %s, tax of %d basis points, returned in two parts',
    (feeMode, taxBps) => {
      const settings = {
        feeMode,
        feeBps: 500,
        feeMinCents: cents(0n),
        minCents: cents(100n),
        maxCents: cents(1_000_000n),
      };
      const wrong: bigint[] = [];
      const step = amountStep();
      let count = 0n;
      for (let amount = 100n; amount <= 1_000_000n; amount += step) {
        const quote = quoteTopUp(cents(amount), settings);
        if (quote === null) throw new Error(`${amount} is not sold`);
        const { creditCents, feeCents, chargeCents } = quote;
        const taxCents = cents(divHalfUp(chargeCents * taxBps, 10_000n));
        const payment: Parts = { creditCents, feeCents, taxCents };
        // Another share of each payment, and each share now and then.
        const wish = cents(1n + ((amount * 7_919n) % creditCents));
        const first = partsFor(wish, payment, NOTHING) as Parts;
        const left = cents(creditCents - wish);
        const byCredit = left === 0n ? first : plus(first, partsFor(left, payment, first) as Parts);
        const byAmount = partsOfAmount(cents(computeCharge(payment) - computeCharge(first)), payment, first);
        const isWhole = computeCharge(payment) === chargeCents + taxCents && areEqual(byCredit, payment);
        const isWholeAtStripe =
          left === 0n || (byAmount !== null && areEqual(plus(first, byAmount), payment));
        if (!isWhole || !isWholeAtStripe) wrong.push(amount);
        count += 1n;
      }
      expect({ count, wrong: wrong.slice(0, 5) }).toEqual({ count: 1n + 999_900n / step, wrong: [] });
    },
  );
});
