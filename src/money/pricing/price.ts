import { times, type MicroUsd } from '../../platform/common/money.js';

/** One version of the price of one image of a model. Every charge stores the id of the price that it was made with. */
export type Price = {
  readonly id: string;
  readonly model: string;
  readonly version: number;
  readonly unit: 'image';
  /** The price of one image; 0 for a free model. */
  readonly amountMicros: MicroUsd;
  readonly effectiveFromMs: number;
};

/** The cost is exact: a price is for a whole image, so nothing is rounded. */
export function costOf(price: Price, images: number): MicroUsd {
  if (!Number.isSafeInteger(images) || images < 0) throw new RangeError('images is a whole number');
  return times(price.amountMicros, images);
}

/** Finds the price in force in `prices`, which are sorted with the newest first: the newest that has taken effect. */
export function priceInForce(prices: readonly Price[], nowMs: number): Price | null {
  return prices.find((price) => price.effectiveFromMs <= nowMs) ?? null;
}

/** Sorts the later price first; of two that take effect at the same time, the one with the higher version. */
export function compareNewestFirst(a: Price, b: Price): number {
  return b.effectiveFromMs - a.effectiveFromMs || b.version - a.version;
}
