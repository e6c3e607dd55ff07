import { crc32, deflateSync } from 'node:zlib';
import { claiming, GREY, noise, plain } from './edit-bodies.js';

/**
 * Pictures that are refused, of `bytes` bytes each and named by what is wrong with them. Their structure shows it, at the beginning
 * or only at the end, and each is as dear as can be for a reader who has to find that out.
 */
export async function hostilePictures(bytes: number): Promise<ReadonlyMap<string, Buffer>> {
  const png = await noise(64, 64).png().toBuffer();
  const [pngBegin, pngEnd] = [png.subarray(0, 33), png.subarray(-12)];
  const side = Math.floor(Math.sqrt(bytes / 3)) - 4;
  const largePng = await noise(side, side).png({ compressionLevel: 0 }).toBuffer();
  const jpeg = await noise(5_000, 5_000).jpeg({ quality: 85 }).toBuffer();
  const jpegBegin = jpeg.subarray(0, jpeg.indexOf(bytesOf('ffda000c')) + 14);
  /** As many times the pattern as there is room for. */
  const filled = (begin: Buffer, pattern: Buffer, end: Buffer = NOTHING): Buffer => {
    const room = bytes - begin.length - end.length;
    return Buffer.concat([begin, Buffer.alloc(room - (room % pattern.length), pattern), end]);
  };
  return new Map([
    ['a PNG of 3,600 megapixels without its data', filled(await claiming(60_000, 60_000), ZERO)],
    ['a PNG of 25 megapixels without its data', filled(await claiming(5_000, 5_000), ZERO)],
    ['a PNG that is cut short', Buffer.concat([largePng.subarray(0, 0.99 * largePng.length), pngEnd])],
    ['a PNG whose last pixels are damaged', withFlippedByte(largePng, largePng.length - 100)],
    ['a PNG of a text', Buffer.concat([pngBegin, pngChunk('tEXt', Buffer.alloc(bytes - 60)), pngEnd])],
    ['a PNG of empty texts', filled(pngBegin, pngChunk('tEXt'), png.subarray(33))],
    ['a PNG of empty pixels', filled(pngBegin, pngChunk('IDAT'), png.subarray(33))],
    ['a JPEG of a header', filled(bytesOf('ffd8ffe0'), ZERO)],
    ['a JPEG of comments', filled(bytesOf('ffd8'), bytesOf(`fffeffff${'00'.repeat(65_533)}`))],
    ['a JPEG of empty comments', filled(bytesOf('ffd8'), bytesOf('fffe0002'))],
    ['a JPEG without its end', jpeg.subarray(0, Math.min(bytes, jpeg.length - 2))],
    ['a JPEG of stuffed bytes', filled(jpegBegin, bytesOf('ff00'))],
    ['a JPEG of half markers', filled(jpegBegin, bytesOf('ff'))],
    ['a JPEG without its data', Buffer.concat([jpegBegin, bytesOf('ffd9')])],
    ['a WebP of a header', filled(riff(bytes, webpChunk('VP8X', 1)).subarray(0, 20), ZERO)],
    ['a WebP that is cut short', filled(riff(bytes + 2, webpChunk('VP8 ', bytes - 20, LOSSY)), ZERO)],
    ['a WebP of a description', riff(bytes, EXTENDED, webpChunk('EXIF', bytes - 38))],
    ['a WebP of empty chunks', filled(riff(bytes, EXTENDED), webpChunk('abcd', 0))],
    ['an animated WebP', riff(bytes, ANIMATED, webpChunk('ANMF', bytes - 38))],
  ]);
}

/**
 * Pictures that only a decoder refuses, when it has come to the damage: every part is there, and every checksum right. They cost what a
 * picture of that size costs that is whole.
 */
export async function undecodablePictures(bytes: number): Promise<ReadonlyMap<string, Buffer>> {
  return new Map([
    ['a lossy WebP of 25 megapixels without its data', riff(bytes, webpChunk('VP8 ', bytes - 20, LOSSY))],
    [
      'a lossless WebP of 25 megapixels without its data',
      riff(bytes, webpChunk('VP8L', bytes - 20, LOSSLESS)),
    ],
    ['a PNG of 24 megapixels that is packed wrongly at its end', await packedWrongly(4_900, 4_900)],
  ]);
}

async function packedWrongly(width: number, height: number): Promise<Buffer> {
  const pixels = Buffer.alloc((width + 1) * height, 'a picture');
  for (let row = 0; row < height; row += 1) pixels[row * (width + 1)] = 0;
  const packed = deflateSync(pixels, { level: 1 });
  packed.fill(0xff, packed.length - 20);
  const header = Buffer.from(
    (await plain(GREY, width, height).toColourspace('b-w').png().toBuffer()).subarray(0, 33),
  );
  return Buffer.concat([header, pngChunk('IDAT', packed), pngChunk('IEND')]);
}

const NOTHING = Buffer.alloc(0);
const ZERO = Buffer.alloc(1);

function bytesOf(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}

function pngChunk(type: string, data: Buffer = NOTHING): Buffer {
  const { length } = data;
  const chunk = Buffer.alloc(12 + length);
  chunk.writeUInt32BE(length);
  chunk.write(type, 4, 'latin1');
  data.copy(chunk, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + length)), 8 + length);
  return chunk;
}

/** @param bytes of the whole file. */
function riff(bytes: number, ...chunks: Buffer[]): Buffer {
  const header = Buffer.from('RIFF    WEBP', 'latin1');
  header.writeUInt32LE(bytes - 8, 4);
  return Buffer.concat([header, ...chunks]);
}

function webpChunk(type: string, length: number, begin: Buffer = NOTHING): Buffer {
  const head = Buffer.from(`${type}    `, 'latin1');
  head.writeUInt32LE(length, 4);
  return Buffer.concat([head, begin, Buffer.alloc(length - begin.length)]);
}

/** 5,000 by 5,000. */
const LOSSY = bytesOf('1002009d012a88138813');
const LOSSLESS = bytesOf('2f87d3e104');
const EXTENDED = webpChunk('VP8X', 10, bytesOf('08000000871300871300'));
const ANIMATED = webpChunk('VP8X', 10, bytesOf('02000000871300871300'));

function withFlippedByte(image: Buffer, at: number): Buffer {
  const copy = Buffer.from(image);
  copy[at] = (copy[at] ?? 0) ^ 0xff;
  return copy;
}
