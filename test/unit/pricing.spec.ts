import { describe, expect, it } from '@jest/globals';
import { micros } from '../../src/platform/common/money.js';
import {
  compareNewestFirst,
  computeCost,
  findPriceInForce,
  type Price,
} from '../../src/money/pricing/price.js';

function price(version: number, effectiveFromMs: number, amountMicros = 40_000n): Price {
  const id = `price_${version}`;
  return { id, model: 'm', version, unit: 'image', amountMicros: micros(amountMicros), effectiveFromMs };
}

describe('prices', () => {
  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])('prices no %p images', (images) => {
    expect(() => computeCost(price(1, 0), images)).toThrow(RangeError);
  });

  it('changes the price at the millisecond that a version begins, whatever order the versions come in', () => {
    const book = [price(1, 1_000), price(3, 3_000), price(2, 2_000)].sort(compareNewestFirst);
    expect(findPriceInForce(book, 999)).toBeNull();
    expect(findPriceInForce(book, 1_000)?.version).toBe(1);
    expect(findPriceInForce(book, 1_999)?.version).toBe(1);
    expect(findPriceInForce(book, 2_000)?.version).toBe(2);
    expect(findPriceInForce(book, 9_000)?.version).toBe(3);
  });

  it('lets a correction of the same moment win over what it corrects', () => {
    const book = [price(1, 1_000), price(2, 1_000)].sort(compareNewestFirst);
    expect(findPriceInForce(book, 1_000)?.version).toBe(2);
  });
});
