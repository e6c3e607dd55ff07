import { ImageScan } from '../media/image-scan.js';
import { formatOf, FORMAT_BYTES } from '../media/verify-image.js';
import { damaged, InvalidImageError, notAnImage } from './edit.errors.js';
import { SLAB_BYTES, slabs } from './slabs.js';

/** OpenAI's bound for one `image_url`, and a photo of any camera. */
export const REFERENCE_BYTES_MAX = 20_971_520;

/** Refuses an image at the byte that shows that no decoder makes a picture of it, or at its end. */
export class ImageCheck {
  private beginning: Buffer = Buffer.alloc(0);
  private scan: ImageScan | null = null;

  /** @param param how the client would find the image again. */
  constructor(private readonly param: string) {}

  /** Throws `InvalidImageError`. */
  take(piece: Buffer): void {
    if (this.scan !== null) return this.look(this.scan, piece);
    this.beginning = this.beginning.length === 0 ? piece : Buffer.concat([this.beginning, piece]);
    if (this.beginning.length < FORMAT_BYTES) return;
    const format = formatOf(this.beginning);
    if (format === null) throw notAnImage(this.param);
    this.scan = new ImageScan(format, REFERENCE_BYTES_MAX);
    this.look(this.scan, this.beginning);
    this.beginning = Buffer.alloc(0);
  }

  /**
   * Throws `InvalidImageError` when it is not whole.
   *
   * @param param its name when all images are known.
   */
  end(param = this.param): void {
    if (this.scan === null) {
      throw this.beginning.length === 0 ? new InvalidImageError(param, 'is empty') : notAnImage(param);
    }
    if (this.scan.end() !== null) throw damaged(param);
  }

  private look(scan: ImageScan, piece: Buffer): void {
    if (scan.take(piece) !== null) throw damaged(this.param);
  }
}

/** An image that comes in pieces, checked and kept. */
export class ArrivingImage extends ImageCheck {
  private bytes = 0;
  /** As they came, while they are few. */
  private readonly pieces: Buffer[] = [];
  /** From then on: full ones, and one that is being filled. */
  private readonly slabs: Buffer[] = [];

  override take(piece: Buffer): void {
    super.take(piece);
    const before = this.bytes;
    this.bytes += piece.length;
    this.pieces.push(piece);
    if (this.bytes > SLAB_BYTES) this.moveIntoSlabs(before);
  }

  /** All of it. To be called once: its memory is given back. */
  join(): Buffer {
    const image = Buffer.concat([...this.slabs, ...this.pieces], this.bytes);
    this.release();
    return image;
  }

  /** Gives its memory back: nobody asks for the image any more. */
  release(): void {
    this.bytes = 0;
    this.pieces.length = 0;
    slabs.giveBack(this.slabs.splice(0));
  }

  /** @param before how many bytes had come before the last piece. */
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

/** The images of an edit, whose memory is given back together. */
export class ArrivingImages {
  private readonly images: ArrivingImage[] = [];

  /** @param param how the client would find it again. */
  begin(param: string): ArrivingImage {
    const image = new ArrivingImage(param);
    this.images.push(image);
    return image;
  }

  release(): void {
    for (const image of this.images) image.release();
  }
}
