import sharp from 'sharp';
import { FairSlots, type SlotRequest } from '../../../platform/common/fair-slots.js';

/** One thread an image: conversions run concurrently, and more threads for one only wait for each other. */
sharp.concurrency(1);
/** No image is decoded twice. */
sharp.cache(false);

/**
 * Pictures that are decoded and encoded at the same time, in this process. Each takes one of the four threads that files,
 * names and hashes need too: with all four taken for long, even the database seems to be away.
 */
const AT_ONCE_MAX = 2;

/** A megapixel of PNG takes 200 ms to make; what takes so much longer is a trap, or a machine in trouble. */
export const CONVERSION_SECONDS_MAX = 20;

/** For whom an image is converted, and until when its conversion may wait. */
export type ConversionContext = { readonly slotRequest: SlotRequest; readonly signal: AbortSignal };

/**
 * Lets so many conversions run at the same time, shared evenly between accounts. The others wait for as long as their callers
 * allow; how many may wait is bounded by the callers, too, for an image that a provider has made must not be refused here. A
 * conversion waits for nothing but its own work, so every slot that is taken becomes free.
 */
export class ConversionSlots {
  private readonly slots: FairSlots;

  constructor(slots: number) {
    const waitersMax = Number.POSITIVE_INFINITY;
    this.slots = new FairSlots({ slots, waitersMax, waitersPerOwnerMax: waitersMax });
  }

  /** How many conversions of an account wait. */
  waitingOf(owner: string): number {
    return this.slots.waitingOf(owner);
  }

  /** Throws the reason of the signal when it aborts before a slot is free, and `NoSlotError` after `maxMs`. Work that has begun is not interrupted. */
  run<T>({ slotRequest, signal }: ConversionContext, work: () => Promise<T>, maxMs?: number): Promise<T> {
    const wait = maxMs === undefined ? { signal } : { signal, maxMs };
    return this.slots.run(slotRequest, work, wait);
  }
}

/** Those of this process. */
export const conversions = new ConversionSlots(AT_ONCE_MAX);

/** Takes all slots, so that nothing else is decoded at the same time. */
export function alone({ slotRequest, signal }: ConversionContext): ConversionContext {
  return { slotRequest: { ...slotRequest, slots: AT_ONCE_MAX }, signal };
}
