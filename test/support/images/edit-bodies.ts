import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import sharp, { type Sharp } from 'sharp';
import type { UnreadBody } from '../../../src/platform/http/request-bodies.js';

export type Part = {
  readonly name: string;
  readonly content: string | Buffer;
  /** A file when it has one. */
  readonly filename?: string;
  readonly type?: string;
};

export const BOUNDARY = 'a-boundary';
export const FORM_TYPE = `multipart/form-data; boundary=${BOUNDARY}`;

/** As curl writes it, in the given order. */
export function form(parts: readonly Part[]): Buffer {
  const chunks = parts.flatMap(({ name, content, filename, type }) => [
    `--${BOUNDARY}\r\ncontent-disposition: form-data; name="${name}"`,
    filename === undefined ? '' : `; filename="${filename}"\r\ncontent-type: ${type ?? 'image/png'}`,
    '\r\n\r\n',
    content,
    '\r\n',
  ]);
  return Buffer.concat([...chunks, `--${BOUNDARY}--\r\n`].map((chunk) => Buffer.from(chunk)));
}

export function image(content: Buffer, name = 'image'): Part {
  return { name, content, filename: 'a.png' };
}

/** As it would come from a socket, in chunks of that size. */
export function unread(body: Buffer, contentType: string, chunkBytes = 65_536): UnreadBody {
  async function* received() {
    for (let at = 0; at < body.length; at += chunkBytes) {
      // Each read of a socket is a turn of the event loop, by whose end the parser has worked off the one before.
      await new Promise((resolve) => setImmediate(resolve));
      yield body.subarray(at, at + chunkBytes);
    }
  }
  return { payload: Readable.from(received()), contentType, declaredBytes: null };
}

export type Colour = { readonly r: number; readonly g: number; readonly b: number };
export const RED: Colour = { r: 200, g: 20, b: 20 };
export const GREEN: Colour = { r: 20, g: 160, b: 20 };
export const BLUE: Colour = { r: 20, g: 20, b: 200 };
export const GREY: Colour = { r: 128, g: 128, b: 128 };

/** One colour all over. */
export function plain(background: Colour, width = 64, height = 64): Sharp {
  return sharp({ create: { width, height, channels: 3, background } });
}

/** Does not compress. */
export function noise(width: number, height: number): Sharp {
  return sharp(randomBytes(width * height * 3), { raw: { width, height, channels: 3 } });
}

/** A few hundred bytes that claim to be of any size: the rest of a PNG that a decoder would have to unpack. */
export async function claiming(width: number, height: number, bits: 8 | 16 = 8): Promise<Buffer> {
  const png = await plain(RED).png().toBuffer();
  png.writeUInt32BE(width, 16);
  png.writeUInt32BE(height, 20);
  png[24] = bits;
  // Red, green, blue and transparency.
  if (bits === 16) png[25] = 6;
  png.writeUInt32BE(crc32(png.subarray(12, 29)), 29);
  return png;
}

/** Node has its own only from 22.2 on. */
function crc32(bytes: Buffer): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
