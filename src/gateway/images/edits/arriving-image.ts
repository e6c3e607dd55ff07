import { ImageScan } from '../media/image-scan.js';
import { detectFormat, FORMAT_BYTES } from '../media/verify-image.js';
import { damaged, InvalidImageError, notAnImage } from './edit.errors.js';
import { SLAB_BYTES, slabs } from './slabs.js';

/** OpenAI's limit for one `image_url`; a photo of any camera fits. */
export const REFERENCE_BYTES_MAX = 20_971_520;

/** Refuses an image as soon as its bytes show that no decoder can read it, or at its end. */
export class ImageCheck {
  private beginning: Buffer = Buffer.alloc(0);
  private scan: ImageScan | null = null;

  /** @param param the name by which the client recognises the image. */
  constructor(private readonly param: string) {}

  /** Throws `InvalidImageError`. */
  take(piece: Buffer): void {
    if (this.scan !== null) return this.check(this.scan, piece);
    this.beginning = this.beginning.length === 0 ? piece : Buffer.concat([this.beginning, piece]);
    if (this.beginning.length < FORMAT_BYTES) return;
    const format = detectFormat(this.beginning);
    if (format === null) throw notAnImage(this.param);
    this.scan = new ImageScan(format, REFERENCE_BYTES_MAX);
    this.check(this.scan, this.beginning);
    this.beginning = Buffer.alloc(0);
  }

  /**
   * Throws `InvalidImageError` when the image is not complete.
   *
   * @param param the name of the image once all images are known.
   */
  end(param = this.param): void {
    if (this.scan === null) {
      throw this.beginning.length === 0 ? new InvalidImageError(param, 'is empty') : notAnImage(param);
    }
    if (this.scan.end() !== null) throw damaged(param);
  }

  private check(scan: ImageScan, piece: Buffer): void {
    if (scan.take(piece) !== null) throw damaged(this.param);
  }
}

/** An image that arrives in pieces, which are checked and kept in memory. */
export class ArrivingImage extends ImageCheck {
  private bytes = 0;
  /** The pieces as they arrived, while they are few. */
  private readonly pieces: Buffer[] = [];
  /** Once there are more: full slabs, and one that is being filled. */
  private readonly slabs: Buffer[] = [];

  override take(piece: Buffer): void {
    super.take(piece);
    const before = this.bytes;
    this.bytes += piece.length;
    this.pieces.push(piece);
    if (this.bytes > SLAB_BYTES) this.moveIntoSlabs(before);
  }

  /** Returns the whole image and releases its memory, so it may be called once only. */
  join(): Buffer {
    const image = Buffer.concat([...this.slabs, ...this.pieces], this.bytes);
    this.release();
    return image;
  }

  /** Releases the memory of an image that is not needed any more. */
  release(): void {
    this.bytes = 0;
    this.pieces.length = 0;
    slabs.giveBack(this.slabs.splice(0));
  }

  /** @param before how many bytes had arrived before the last piece. */
  private moveIntoSlabs(before: number): void {
    let at = this.slabs.length > 0 ? before : 0;
    for (const piece of this.pieces.splice(0)) {
      for (let from = 0; from < piece.length;) {
        const slabAt = at % SLAB_BYTES;
        if (slabAt === 0) this.slabs.push(slabs.take());
        const copied = piece.copy(this.slabs.at(-1) as Buffer, slabAt, from);
        from += copied;
        at += copied;
      }
    }
  }
}

/** The images of an edit, whose memory is released together. */
export class ArrivingImages {
  private readonly images: ArrivingImage[] = [];

  /** @param param the name by which the client recognises the image. */
  begin(param: string): ArrivingImage {
    const image = new ArrivingImage(param);
    this.images.push(image);
    return image;
  }

  release(): void {
    for (const image of this.images) image.release();
  }
}
