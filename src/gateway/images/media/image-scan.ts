import type { OutputFormat } from '../providers/image-provider.js';
import { CUT_SHORT } from './image-structure.js';
import { scanJpeg } from './jpeg-scan.js';
import { scanPng } from './png-scan.js';
import type { Scan, Wish } from './scan-steps.js';
import { scanWebp } from './webp-scan.js';

const SCANS: Readonly<Record<OutputFormat, (bytesMax: number) => Scan>> = {
  png: scanPng,
  jpeg: scanJpeg,
  webp: scanWebp,
};

/**
 * Checks an image while it arrives in pieces of any length, and finds what no decoder could read completely: a missing part, a chunk
 * with a wrong checksum, an excessive length. It is less strict than `verifyImage`, which is for images that we deliver: unusual
 * files of cameras and editors that can be decoded have to pass, such as those with bytes after the end.
 */
export class ImageScan {
  private readonly scan: Scan;
  /** The bytes that the scan needs next; null when it has ended. */
  private wish: Wish | null;
  private readonly collected: Buffer[] = [];
  private missing = 0;
  private fault: string | null = null;

  /** @param bytesMax the length of the longest image that is accepted. */
  constructor(format: OutputFormat, bytesMax: number) {
    this.scan = SCANS[format](bytesMax);
    this.wish = this.next(NOTHING);
  }

  /** Returns what is wrong with the bytes so far, as text for the log; null when nothing is. */
  take(bytes: Buffer): string | null {
    let rest = bytes;
    while (this.wish !== null && rest.length > 0) {
      const piece = rest.subarray(0, this.missing);
      rest = rest.subarray(piece.length);
      this.missing -= piece.length;
      this.wish = this.hand(this.wish, piece);
    }
    return this.fault;
  }

  /** Returns what is wrong with the image if no bytes follow; null when nothing is. */
  end(): string | null {
    return this.wish === null ? this.fault : CUT_SHORT.fault;
  }

  private hand({ kind }: Wish, piece: Buffer): Wish | null {
    switch (kind) {
      case 'some':
        return this.next(piece);
      case 'skipped':
        return this.missing > 0 ? this.wish : this.next(piece);
      case 'exactly':
        if (this.missing > 0 || this.collected.length > 0) this.collected.push(piece);
        return this.missing > 0 ? this.wish : this.next(this.takeCollected(piece));
    }
  }

  private takeCollected(piece: Buffer): Buffer {
    return this.collected.length === 0 ? piece : Buffer.concat(this.collected.splice(0));
  }

  private next(piece: Buffer): Wish | null {
    for (let step = this.scan.next(piece); ; step = this.scan.next(NOTHING)) {
      if (step.done === true) {
        this.fault = step.value;
        return null;
      }
      if (step.value.bytes === 0) continue;
      this.missing = step.value.bytes;
      return step.value;
    }
  }
}

const NOTHING = Buffer.alloc(0);
