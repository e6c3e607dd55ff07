/** An image of a few hundred kilobytes fills one or two. */
export const SLAB_BYTES = 262_144;
/** Together 32 MiB, the size of the largest body. */
const FREE_SLABS_MAX = 128;

/**
 * Reusable memory for images while they arrive. Without it the buffers that a socket reads into would have to be kept until the image
 * is complete; after 64 MB of them, which are two or three refused edits, V8 runs a full garbage collection that takes 40 ms of CPU.
 * With it those buffers become garbage at once, which costs nothing.
 */
export class Slabs {
  private readonly free: Buffer[] = [];

  /** The content of the slab is undefined. */
  take(): Buffer {
    return this.free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  /** No code may read these slabs afterwards. */
  giveBack(slabs: readonly Buffer[]): void {
    this.free.push(...slabs.slice(0, FREE_SLABS_MAX - this.free.length));
  }
}

/** The slabs of this process. */

export const slabs = new Slabs();
