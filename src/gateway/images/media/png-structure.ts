import { crc32 } from 'node:zlib';
import { CUT_SHORT, damaged, type ImageStructure } from './image-structure.js';

const SIGNATURE_BYTES = 8;
/** The bytes of a chunk's length, type and checksum. */
const CHUNK_FRAME_BYTES = 12;
const HEADER_BYTES = 13;
/** The largest size that the format allows. */
const SIDE_MAX = 0x7fffffff;

/** The samples of a pixel, and how many bits a sample may have, by colour type. */
const COLOUR_TYPES: Readonly<
  Record<number, { readonly samples: number; readonly depths: readonly number[] }>
> = {
  0: { samples: 1, depths: [1, 2, 4, 8, 16] },
  2: { samples: 3, depths: [8, 16] },
  3: { samples: 1, depths: [1, 2, 4, 8] },
  4: { samples: 2, depths: [8, 16] },
  6: { samples: 4, depths: [8, 16] },
};
const PALETTE_TYPE = 3;
const GREY_TYPES: readonly number[] = [0, 4];
const PALETTE_ENTRY_BYTES = 3;
const ADAM7 = 1;

/** A type has four letters. The third is a capital in every chunk type that exists so far. */
const CHUNK_TYPE = /^[A-Za-z]{2}[A-Z][A-Za-z]$/;
/** A type that begins with a capital is critical: a decoder that does not know it cannot show the picture. */
const CRITICAL = /^[A-Z]/;

/** The bytes of zlib's header and checksum around the compressed pixels. */
const ZLIB_FRAME_BYTES = 6;
/** Deflate expands two bits to at most 258 bytes. */
const DEFLATE_RATIO_MAX = 1_032;

type Header = {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly colourType: number;
  readonly samples: number;
};

/**
 * Reads all chunks of a PNG to its end and compares their checksums, which finds every flipped bit and every cut. The pixels are not
 * unpacked, so pixels that an encoder packed wrongly under a correct checksum are not found. Pure.
 *
 * @param png a file that begins with the signature.
 */
export function readPng(png: Buffer): ImageStructure {
  let header: Header | null = null;
  let hasPalette = false;
  const pixels = new CompressedPixels();
  for (let at = SIGNATURE_BYTES; ;) {
    const room = png.length - at - CHUNK_FRAME_BYTES;
    const length = room < 0 ? 0 : png.readUInt32BE(at);
    if (length > room) return CUT_SHORT;
    const type = png.toString('latin1', at + 4, at + 8);
    if (!CHUNK_TYPE.test(type)) return damaged('a chunk has no known kind of name');
    const dataAt = at + 8;
    const end = dataAt + length;
    if (crc32(png.subarray(at + 4, end)) !== png.readUInt32BE(end))
      return damaged(`${type} fails its checksum`);
    const data = png.subarray(dataAt, end);
    at = end + 4;
    if (header === null) {
      header = type === 'IHDR' ? readHeader(data) : null;
      if (header === null) return damaged('its header is not one of a PNG');
      continue;
    }
    if (pixels.hasBegun && type !== 'IDAT') pixels.isOver = true;
    switch (type) {
      case 'IDAT':
        if (header.colourType === PALETTE_TYPE && !hasPalette) return damaged('it has no palette');
        if (!pixels.add(data)) return damaged('its pixels are not in one piece, or not packed with zlib');
        break;
      case 'PLTE':
        if (hasPalette || pixels.hasBegun || !isPalette(data, header)) return damaged('its palette is wrong');
        hasPalette = true;
        break;
      case 'IEND':
        if (length > 0) return damaged('its end has content');
        if (!pixels.canHold(header)) return damaged('it has too few bytes for its pixels');
        if (at < png.length) return damaged('bytes follow its end');
        return { fault: null, width: header.width, height: header.height };
      case 'acTL':
        return damaged('it is an animation');
      default:
        if (CRITICAL.test(type)) return damaged(`it needs an unknown chunk ${type}`);
    }
  }
}

export function readHeader(data: Buffer): Header | null {
  if (data.length !== HEADER_BYTES) return null;
  const width = data.readUInt32BE(0);
  const height = data.readUInt32BE(4);
  const [depth = 0, colourType = 0, compression, filter, interlace = 0] = data.subarray(8);
  const kind = COLOUR_TYPES[colourType];
  if (width < 1 || width > SIDE_MAX || height < 1 || height > SIDE_MAX) return null;
  if (kind?.depths.includes(depth) !== true) return null;
  if (compression !== 0 || filter !== 0 || interlace > ADAM7) return null;
  return { width, height, depth, colourType, samples: kind.samples };
}

function isPalette(data: Buffer, { colourType, depth }: Header): boolean {
  const entries = data.length / PALETTE_ENTRY_BYTES;
  const entriesMax = colourType === PALETTE_TYPE ? 2 ** depth : 256;
  return (
    Number.isInteger(entries) && entries >= 1 && entries <= entriesMax && !GREY_TYPES.includes(colourType)
  );
}

/** The `IDAT` chunks, which must follow one another. */
export class CompressedPixels {
  isOver = false;
  private bytes = 0;
  private readonly zlibHeader: number[] = [];

  get hasBegun(): boolean {
    return this.bytes > 0;
  }

  /** Returns false when the chunk cannot be a part of the pixels. */
  add(data: Buffer): boolean {
    if (this.isOver) return false;
    this.bytes += data.length;
    if (this.zlibHeader.length >= 2) return true;
    this.zlibHeader.push(...data.subarray(0, 2 - this.zlibHeader.length));
    const [method, flags] = this.zlibHeader;
    if (method === undefined || flags === undefined) return true;
    const isDeflate = (method & 0x0f) === 8 && method >> 4 <= 7;
    // A preset dictionary is not allowed in a PNG.
    return isDeflate && ((method << 8) | flags) % 31 === 0 && (flags & 0x20) === 0;
  }

  /** Whether this many bytes can unpack to all pixels. A small file that claims a large picture is not complete. */
  canHold({ width, height, samples, depth }: Header): boolean {
    const unpacked = (width * height * samples * depth) / 8;
    return this.bytes >= ZLIB_FRAME_BYTES + unpacked / DEFLATE_RATIO_MAX;
  }
}
