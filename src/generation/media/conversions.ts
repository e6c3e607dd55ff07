import sharp from 'sharp';

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

/**
 * Lets so many conversions run at the same time; the others wait, first come, first served, for as long as their callers
 * allow. A conversion waits for nothing but its own work, so every slot that is taken comes free.
 */
export class ConversionSlots {
  private readonly waiting = new Set<() => void>();

  constructor(private free: number) {}

  /** Throws the reason of `signal` when it aborts before a slot is free. Work that has begun is not interrupted. */
  async run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    if (this.free > 0) this.free -= 1;
    else await this.waitForSlot(signal);
    try {
      return await work();
    } finally {
      this.passOn();
    }
  }

  private waitForSlot(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.waiting.delete(enter);
        reject(signal.reason as Error);
      };
      const enter = (): void => {
        signal.removeEventListener('abort', leave);
        resolve();
      };
      this.waiting.add(enter);
      signal.addEventListener('abort', leave, { once: true });
    });
  }

  /** Hands the slot to the conversion that has waited longest; a `Set` keeps the order of arrival. */
  private passOn(): void {
    const [next] = this.waiting;
    if (next === undefined) {
      this.free += 1;
      return;
    }
    this.waiting.delete(next);
    next();
  }
}

/** Those of this process. */
export const conversions = new ConversionSlots(AT_ONCE_MAX);
