import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { micros } from '../../src/platform/common/money.js';
import { computeCost, type Price } from '../../src/money/pricing/price.js';
import { checkProperty } from '../support/property.js';

describe('prices', () => {
  it('charges images times the price, exactly, for any price and count', async () => {
    await checkProperty(
      'images times the price',
      fc.property(
        fc.bigInt({ min: 0n, max: 1_000_000_000n }),
        fc.nat({ max: 1_000_000 }),
        (amount, images) => {
          const price: Price = {
            id: 'price_1',
            model: 'm',
            version: 1,
            unit: 'image',
            amountMicros: micros(amount),
            effectiveFromMs: 0,
          };
          expect(computeCost(price, images)).toBe(amount * BigInt(images));
        },
      ),
      { runs: 100 },
    );
  });
});
