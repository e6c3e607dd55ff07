import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { cents } from '../../src/platform/common/money.js';
import {
  goneAfter,
  partsOfCovered,
  partsOfMoved,
} from '../../src/payments/disputes/dispute-movement.rules.js';
import {
  addParts,
  computeCharge,
  partsOfAmount,
  type Parts,
  type PartsAndExcess,
} from '../../src/money/wallets/rules/payment-parts.js';
import { checkProperty } from '../support/property.js';

const amount = (min: number, max: number) => fc.bigInt({ min: BigInt(min), max: BigInt(max) }).map(cents);
const payments = fc.record({
  creditCents: amount(1, 3_000),
  feeCents: amount(0, 200),
  taxCents: amount(0, 300),
});
const moves = fc.array(
  fc.record({ direction: fc.constantFrom('taken' as const, 'given_back' as const), cents: amount(1, 2_000) }),
  { minLength: 1, maxLength: 8 },
);

const NOTHING: Parts = { creditCents: cents(0n), feeCents: cents(0n), taxCents: cents(0n) };
const HELD_NOTHING: PartsAndExcess = { ...NOTHING, excessCents: cents(0n) };

/** Signed as Stripe does: below zero is taken, so it adds to what the dispute has. */
function heldAfter(held: PartsAndExcess, moved: PartsAndExcess): PartsAndExcess {
  return { ...goneAfter(held, moved), excessCents: cents(held.excessCents - moved.excessCents) };
}

const values = ({ creditCents, feeCents, taxCents }: Parts): bigint[] => [creditCents, feeCents, taxCents];
const isWithin = (parts: Parts, all: Parts): boolean =>
  values(parts).every((part, index) => part >= 0n && part <= (values(all)[index] ?? 0n));

describe('the parts of what Stripe takes of a dispute and gives back, over random histories', () => {
  it('are to the cent what Stripe moved, never more than was paid or taken, and nothing when all is back', async () => {
    await checkProperty(
      'movements of a dispute add up',
      fc.property(payments, fc.option(amount(1, 3_500)), moves, (paid, refundCents, history) => {
        const refunded = (refundCents && partsOfAmount(refundCents, paid, NOTHING)) ?? NOTHING;
        let held = HELD_NOTHING;
        let net = 0n;
        for (const { direction, cents: moved } of history) {
          const gone = { paid, returned: addParts(refunded, held) };
          const parts = partsOfMoved(direction, moved, held, gone);
          held = heldAfter(held, parts);
          net += direction === 'taken' ? moved : 0n - moved;
          const sum = computeCharge(parts) + parts.excessCents;
          expect(sum).toBe(direction === 'taken' ? 0n - moved : moved);
          expect(computeCharge(held) + held.excessCents).toBe(net);
          expect(isWithin(addParts(refunded, held), paid)).toBe(true);
          if (net <= 0n) expect(held).toEqual({ ...NOTHING, excessCents: net });
          // A loss only when no credit of the payment is left.
          if (held.excessCents > 0n) expect(refunded.creditCents + held.creditCents).toBe(paid.creditCents);
        }
      }),
      { runs: 2_000 },
    );
  });

  it('of a loss that is none any more are what came back of the payment, and leave no loss while credit is left', async () => {
    await checkProperty(
      'what is covered again adds up',
      fc.property(payments, amount(1, 3_500), amount(1, 3_500), (paid, refundCents, takenCents) => {
        const refunded = partsOfAmount(refundCents, paid, NOTHING);
        fc.pre(refunded !== null);
        const taken = partsOfMoved('taken', takenCents, HELD_NOTHING, { paid, returned: refunded });
        const held = heldAfter(HELD_NOTHING, taken);
        const covered = partsOfCovered(held, paid, held);
        if (held.excessCents === 0n) return expect(covered).toBeNull();
        if (covered === null) throw new Error('the credit of the refund is there again');
        expect(computeCharge(covered) + covered.excessCents).toBe(0n);
        const after = heldAfter(held, covered);
        expect(isWithin(after, paid)).toBe(true);
        if (after.excessCents > 0n) expect(after.creditCents).toBe(paid.creditCents);
        expect(partsOfCovered(after, paid, after)).toBeNull();
      }),
      { runs: 2_000 },
    );
  });
});
