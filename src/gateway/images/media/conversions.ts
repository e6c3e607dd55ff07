import sharp from 'sharp';
import { FairSlots, type SlotRequest } from '../../../platform/common/fair-slots.js';

/** Each image uses one thread. Conversions run concurrently, so further threads for one image would only wait for each other. */
sharp.concurrency(1);
/** No image is decoded twice, so a cache would be useless. */
sharp.cache(false);

/**
 * How many images this process decodes and encodes concurrently. Each uses one of the four threads that files, DNS look-ups and hashes
 * need as well; while all four are busy, even the database seems to be unavailable.
 */
const AT_ONCE_MAX = 2;

/** A megapixel of PNG takes 200 ms to encode. A conversion that takes this long is an attack, or the machine is overloaded. */
export const CONVERSION_SECONDS_MAX = 20;

/** The account for which an image is converted, and the signal until which its conversion may wait. */
export type ConversionContext = { readonly slotRequest: SlotRequest; readonly signal: AbortSignal };

/**
 * Limits the number of concurrent conversions and shares them evenly between accounts. The others wait for as long as their callers
 * allow. The callers also limit how many may wait, because an image that a provider has made must not be refused here. A conversion
 * waits for nothing but its own work, so every slot becomes free again.
 */
export class ConversionSlots {
  private readonly slots: FairSlots;

  constructor(slots: number) {
    const waitersMax = Number.POSITIVE_INFINITY;
    this.slots = new FairSlots({ slots, waitersMax, waitersPerOwnerMax: waitersMax });
  }

  /** How many conversions of an account wait. */
  countWaiting(owner: string): number {
    return this.slots.countWaiting(owner);
  }

  /**
   * Throws the signal's reason when it aborts before a slot is free, and `NoSlotError` after `maxMs`. A conversion that has begun is
   * not interrupted.
   */
  run<T>({ slotRequest, signal }: ConversionContext, work: () => Promise<T>, maxMs?: number): Promise<T> {
    const wait = maxMs === undefined ? { signal } : { signal, maxMs };
    return this.slots.run(slotRequest, work, wait);
  }
}

/** The conversions of this process. */
export const conversions = new ConversionSlots(AT_ONCE_MAX);

/** Takes all slots, so that nothing else is decoded at the same time. */
export function alone({ slotRequest, signal }: ConversionContext): ConversionContext {
  return { slotRequest: { ...slotRequest, slots: AT_ONCE_MAX }, signal };
}
