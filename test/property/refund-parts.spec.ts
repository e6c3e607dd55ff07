import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { cents } from '../../src/common/money.js';
import { chargeOf, partsFor, partsOfAmount, type Parts } from '../../src/top-ups/refunds/refund-parts.js';
import { checkProperty } from '../support/property.js';

const NOTHING: Parts = { creditCents: cents(0n), feeCents: cents(0n) };

const paid: fc.Arbitrary<Parts> = fc.record({
  creditCents: fc.bigInt({ min: 1n, max: 99_999_999n }).map(cents),
  feeCents: fc.bigInt({ min: 0n, max: 5_000_000n }).map(cents),
});

/** Wishes, as shares of what is left, in ten-thousandths; the last one takes the rest. */
const wishes = fc.array(fc.bigInt({ min: 1n, max: 10_000n }), { maxLength: 12 });

const plus = (a: Parts, b: Parts): Parts => ({
  creditCents: cents(a.creditCents + b.creditCents),
  feeCents: cents(a.feeCents + b.feeCents),
});

describe('the parts of refunds', () => {
  it('add up to the parts of the payment, to the cent, however it is divided', async () => {
    const property = fc.property(paid, wishes, (payment, shares) => {
      let returned = NOTHING;
      for (const share of [...shares, 10_000n]) {
        const left = payment.creditCents - returned.creditCents;
        if (left === 0n) break;
        const wish = cents((left * share) / 10_000n || 1n);
        const parts = partsFor(wish, payment, returned);
        if (parts === null || parts.creditCents !== wish || parts.feeCents < 0n) return false;
        returned = plus(returned, parts);
        // Nobody is a cent ahead on the way: the fee that came back is its exact share, rounded once.
        const exact = payment.feeCents * returned.creditCents * 2n;
        const off = exact - returned.feeCents * payment.creditCents * 2n;
        if (off > payment.creditCents || -off > payment.creditCents) return false;
      }
      return returned.creditCents === payment.creditCents && returned.feeCents === payment.feeCents;
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
        const { creditCents, feeCents } = sum();
        if (creditCents > payment.creditCents || feeCents > payment.feeCents) return false;
      }
      const rest = payment.creditCents - sum().creditCents;
      const last = rest === 0n ? NOTHING : partsFor(cents(rest), payment, sum());
      return last !== null && chargeOf(plus(sum(), last)) <= chargeOf(payment);
    });
    await checkProperty('failed refunds give their parts back', property, { runs: 2_000 });
  });

  it('of an amount chosen at Stripe are that amount, and add up as well', async () => {
    const property = fc.property(paid, wishes, (payment, shares) => {
      let returned = NOTHING;
      for (const share of [...shares, 10_000n]) {
        const left = chargeOf(payment) - chargeOf(returned);
        if (left === 0n) break;
        const amount = cents((left * share) / 10_000n || 1n);
        const parts = partsOfAmount(amount, payment, returned);
        // Where the last cents are all fee, no credit is left to go with them: a person decides.
        if (parts === null) return returned.creditCents === payment.creditCents;
        if (chargeOf(parts) !== amount || parts.creditCents < 1n || parts.feeCents < 0n) return false;
        returned = plus(returned, parts);
        if (returned.creditCents > payment.creditCents || returned.feeCents > payment.feeCents) return false;
      }
      return chargeOf(returned) === chargeOf(payment);
    });
    await checkProperty('amounts chosen at Stripe add up', property, { runs: 2_000 });
  });

  it('are none when nothing is asked for, or more than is left', () => {
    const payment: Parts = { creditCents: cents(1_000n), feeCents: cents(50n) };
    const half: Parts = { creditCents: cents(500n), feeCents: cents(25n) };
    expect(partsFor(cents(0n), payment, NOTHING)).toBeNull();
    expect(partsFor(cents(-1n), payment, NOTHING)).toBeNull();
    expect(partsFor(cents(501n), payment, half)).toBeNull();
    expect(partsFor(cents(500n), payment, half)).toEqual(half);
    expect(partsOfAmount(cents(526n), payment, half)).toBeNull();
    expect(partsOfAmount(cents(525n), payment, half)).toEqual(half);
  });
});
