import { divExact, micros, type MicroUsd } from '../../platform/common/money.js';
import type { ChargeMemo } from '../pricing/charge-memo.js';

/**
 * Computes what `images` of a hold's images cost, at the price that the hold was created with. The result is exact, because
 * the hold is a whole number of images at one price.
 */
export function partOfHold(holdMicros: MicroUsd, charge: ChargeMemo, images: number): MicroUsd {
  return micros(divExact(holdMicros, BigInt(charge.images)) * BigInt(images));
}
