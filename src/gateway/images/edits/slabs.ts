/** An image of a few hundred kilobytes fills one or two. */
export const SLAB_BYTES = 262_144;
/** Together 32 MiB, which is one of the largest bodies. */
const FREE_SLABS_MAX = 128;

/**
 * Memory for images while they come, used again and again. The buffers that a socket reads into would have to be kept until the
 * image is whole; after 64 MB of them, two or three refused edits, V8 collects all garbage of the process, which takes 40 ms
 * of CPU. As it is, they are garbage at once, which costs nothing.
 */
export class Slabs {
  private readonly free: Buffer[] = [];

  /** Its content is whatever was there before. */
  take(): Buffer {
    return this.free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  /** Nobody may read them any more. */
  giveBack(slabs: readonly Buffer[]): void {
    this.free.push(...slabs.slice(0, FREE_SLABS_MAX - this.free.length));
  }
}

/** Those of this process. */
export const slabs = new Slabs();
