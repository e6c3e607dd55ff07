import { times, type MicroUsd } from '../../platform/common/money.js';

/** One version of what one image of a model costs. Every charge stores the id of the price it was made with. */
export type Price = {
  readonly id: string;
  readonly model: string;
  readonly version: number;
  readonly unit: 'image';
  /** For one image. 0 is a free model. */
  readonly amountMicros: MicroUsd;
  readonly effectiveFromMs: number;
};

/** Exact: a price is per whole image, so nothing is ever rounded. */
export function costOf(price: Price, images: number): MicroUsd {
  if (!Number.isSafeInteger(images) || images < 0) throw new RangeError('images is a whole number');
  return times(price.amountMicros, images);
}

/** `prices` newest first. The one in force is the newest that has begun. */
export function priceInForce(prices: readonly Price[], nowMs: number): Price | null {
  return prices.find((price) => price.effectiveFromMs <= nowMs) ?? null;
}

/** The later moment wins; of two that begin together, the higher version. */
export function compareNewestFirst(a: Price, b: Price): number {
  return b.effectiveFromMs - a.effectiveFromMs || b.version - a.version;
}
