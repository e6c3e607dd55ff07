import { CUT_SHORT, damaged, type ImageStructure } from './image-structure.js';

const RIFF_HEADER_BYTES = 12;
/** The bytes of a chunk's name and length. */
const CHUNK_HEADER_BYTES = 8;

const EXTENDED_BYTES = 10;
export const FLAGS = { icc: 0x20, alpha: 0x10, exif: 0x08, xmp: 0x04, animation: 0x02 } as const;

const LOSSLESS_HEADER_BYTES = 5;
export const LOSSLESS_SIGNATURE = 0x2f;

/** Three bytes of tag, the start code and the size. */
const LOSSY_HEADER_BYTES = 10;
export const LOSSY_START_CODE = 0x2a019d;
const LOSSY_VERSION_MAX = 3;
const SIDE_MASK = 0x3fff;
/** The bytes of the length of each part of the coefficients. The last part has no length: it has the rest. */
const PART_LENGTH_BYTES = 3;

type Size = { readonly width: number; readonly height: number };
type Picture = Size & { readonly hasAlpha: boolean };

/**
 * Reads all chunks of a WebP to its end, and the parts inside a lossy picture. WebP has no checksums, so flipped bits inside the coded
 * picture are not found. Pure.
 *
 * @param webp a file that begins with `RIFF`, and has `WEBP` after the length.
 */
export function readWebp(webp: Buffer): ImageStructure {
  if (webp.length < RIFF_HEADER_BYTES + CHUNK_HEADER_BYTES) return CUT_SHORT;
  const announced = webp.readUInt32LE(4) + 8;
  if (announced > webp.length) return CUT_SHORT;
  if (announced < webp.length) return damaged('bytes follow its end');
  const seen = new Map<string, Buffer>();
  let picture: Picture | null = null;
  for (let at = RIFF_HEADER_BYTES; at < webp.length;) {
    if (webp.length - at < CHUNK_HEADER_BYTES) return CUT_SHORT;
    const type = webp.toString('latin1', at, at + 4);
    const dataAt = at + CHUNK_HEADER_BYTES;
    const end = dataAt + webp.readUInt32LE(at + 4);
    // A chunk of odd length is followed by one byte that no length counts.
    at = end + (end & 1);
    if (at > webp.length) return CUT_SHORT;
    const data = webp.subarray(dataAt, end);
    const isPicture = type === 'VP8 ' || type === 'VP8L';
    if (seen.size > 0 && !seen.has('VP8X')) return damaged('a simple WebP has a second chunk');
    if (seen.size === 0 ? type !== 'VP8X' && !isPicture : seen.has(type) && SINGLE.has(type)) {
      return damaged('its chunks are in no order of a WebP');
    }
    if (type === 'ANIM' || type === 'ANMF') return damaged('it is an animation');
    seen.set(type, data);
    if (!isPicture) continue;
    if (picture !== null) return damaged('it has two pictures');
    picture = type === 'VP8L' ? readLossless(data) : readLossy(data, seen.has('ALPH'));
    if (picture === null) return damaged('its picture is damaged');
  }
  if (picture === null) return damaged('it has no picture');
  const extended = seen.get('VP8X');
  const fault = extended === undefined ? null : findExtendedFault(extended, seen, picture);
  return fault === null ? { fault, width: picture.width, height: picture.height } : damaged(fault);
}

/** The chunks that an extended WebP may have only once. */
const SINGLE: ReadonlySet<string> = new Set(['VP8X', 'ICCP', 'ALPH', 'VP8 ', 'VP8L', 'EXIF', 'XMP ']);

function findExtendedFault(
  header: Buffer,
  seen: ReadonlyMap<string, Buffer>,
  picture: Picture,
): string | null {
  if (header.length !== EXTENDED_BYTES) return 'its extended header is damaged';
  const flags = header.readUInt32LE(0);
  if ((flags & FLAGS.animation) !== 0) return 'it is an animation';
  const expected =
    (seen.has('ICCP') ? FLAGS.icc : 0) |
    (picture.hasAlpha ? FLAGS.alpha : 0) |
    (seen.has('EXIF') ? FLAGS.exif : 0) |
    (seen.has('XMP ') ? FLAGS.xmp : 0);
  // The other bits are reserved.
  if (flags !== expected) return 'its header announces other chunks than it has';
  const isSameSize =
    header.readUIntLE(4, 3) + 1 === picture.width && header.readUIntLE(7, 3) + 1 === picture.height;
  if (!isSameSize) return 'its canvas and its picture are of different sizes';
  if (seen.has('ALPH') && seen.has('VP8L')) return 'its transparency is there twice';
  const alpha = seen.get('ALPH');
  return alpha === undefined || isAlpha(alpha, picture) ? null : 'its transparency is damaged';
}

/** Transparency has a header byte, then one byte for each pixel, or the same bytes packed like a lossless picture. */
function isAlpha(data: Buffer, { width, height }: Size): boolean {
  const [header = 0xff] = data;
  const compression = header & 0x03;
  if (compression > 1 || header >> 6 !== 0 || ((header >> 4) & 0x03) > 1) return false;
  return compression === 0 ? data.length >= 1 + width * height : data.length > 1;
}

function readLossless(data: Buffer): Picture | null {
  if (data.length <= LOSSLESS_HEADER_BYTES || data[0] !== LOSSLESS_SIGNATURE) return null;
  const bits = data.readUInt32LE(1);
  const version = bits >>> 29;
  if (version !== 0) return null;
  return {
    width: (bits & SIDE_MASK) + 1,
    height: ((bits >>> 14) & SIDE_MASK) + 1,
    hasAlpha: ((bits >>> 28) & 1) === 1,
  };
}

/** Checks a key frame of VP8 (RFC 6386, section 9): its header and the position of each of its parts. */
function readLossy(data: Buffer, hasAlpha: boolean): Picture | null {
  if (data.length <= LOSSY_HEADER_BYTES) return null;
  const tag = data.readUIntLE(0, 3);
  const isInterFrame = (tag & 1) === 1;
  const version = (tag >> 1) & 0x07;
  const isShown = ((tag >> 4) & 1) === 1;
  if (isInterFrame || !isShown || version > LOSSY_VERSION_MAX) return null;
  if (data.readUIntLE(3, 3) !== LOSSY_START_CODE) return null;
  const width = data.readUInt16LE(6);
  const height = data.readUInt16LE(8);
  // The two upper bits ask for scaling, which a WebP does not.
  if (width === 0 || height === 0 || width > SIDE_MASK || height > SIDE_MASK) return null;
  const firstEnd = LOSSY_HEADER_BYTES + (tag >> 5);
  if (firstEnd === LOSSY_HEADER_BYTES || firstEnd >= data.length) return null;
  const parts = countParts(data.subarray(LOSSY_HEADER_BYTES, firstEnd));
  let lastAt = firstEnd + PART_LENGTH_BYTES * (parts - 1);
  if (lastAt >= data.length) return null;
  for (let part = 0; part < parts - 1; part += 1) {
    lastAt += data.readUIntLE(firstEnd + PART_LENGTH_BYTES * part, PART_LENGTH_BYTES);
  }
  return lastAt < data.length ? { width, height, hasAlpha } : null;
}

/** Reads how many parts the coefficients have, which is stored after the settings of segments and of the filter. */

function countParts(firstPart: Buffer): number {
  const bits = new BooleanDecoder(firstPart);
  bits.skip(2); // colour space, clamping
  if (bits.flag()) {
    const hasMap = bits.flag();
    if (bits.flag()) {
      bits.skip(1); // absolute or not
      for (let segment = 0; segment < 4; segment += 1) bits.skipOptional(8);
      for (let segment = 0; segment < 4; segment += 1) bits.skipOptional(7);
    }
    if (hasMap) for (let probability = 0; probability < 3; probability += 1) bits.skipOptional(8);
  }
  bits.skip(10); // kind, level and sharpness of the filter
  if (bits.flag() && bits.flag()) for (let delta = 0; delta < 8; delta += 1) bits.skipOptional(7);
  return 2 ** (2 * Number(bits.flag()) + Number(bits.flag()));
}

/** VP8's arithmetic coding (RFC 6386, section 7), for values that are as likely 0 as 1. */
class BooleanDecoder {
  private value: number;
  private range = 255;
  private shifts = 0;
  private at = 2;

  constructor(private readonly data: Buffer) {
    this.value = ((data[0] ?? 0) << 8) | (data[1] ?? 0);
  }

  flag(): boolean {
    const split = 1 + (((this.range - 1) * 128) >> 8);
    const isSet = this.value >= split << 8;
    if (isSet) {
      this.range -= split;
      this.value -= split << 8;
    } else this.range = split;
    while (this.range < 128) {
      this.value <<= 1;
      this.range <<= 1;
      this.shifts += 1;
      if (this.shifts % 8 === 0) this.value |= this.data[this.at++] ?? 0;
    }
    return isSet;
  }

  skip(bits: number): void {
    for (let bit = 0; bit < bits; bit += 1) this.flag();
  }

  /** A value that is there only when the bit before it says so. */
  skipOptional(bits: number): void {
    if (this.flag()) this.skip(bits);
  }
}
