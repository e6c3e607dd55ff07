import { crc32 } from 'node:zlib';
import type { OutputFormat } from '../providers/image-provider.js';
import { CUT_SHORT } from './image-structure.js';
import { CompressedPixels, readHeader } from './png-structure.js';
import { FLAGS, LOSSLESS_SIGNATURE, LOSSY_START_CODE } from './webp-structure.js';

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

/** What a scan needs next: a number of bytes in one piece, up to a number of bytes as they arrive, or a number of bytes to be skipped. */
export type Wish = { readonly kind: 'exactly' | 'some' | 'skipped'; readonly bytes: number };

/** Yields what it needs, receives the bytes, and returns what is wrong with the image; null when it is complete. */
export type Scan = Generator<Wish, string | null, Buffer>;

export const exactly = (bytes: number): Wish => ({ kind: 'exactly', bytes });
export const some = (bytes: number): Wish => ({ kind: 'some', bytes });
export const skipped = (bytes: number): Wish => ({ kind: 'skipped', bytes });

const SIGNATURE_BYTES = 8;
const HEADER_BYTES = 13;
const CHECKSUM_BYTES = 4;

/** For the largest accepted image libpng writes 2,600 of them, and encoders with very small buffers about ten times as many. */
const PIXEL_CHUNKS_MAX = 65_536;
/** The limit for chunks with texts, profiles and times. A decoder needs a microsecond for each, and there could be millions. */
const OTHER_CHUNKS_MAX = 4_096;

/** Checks a PNG. For chunks other than pixels only the length is checked, because decoders skip damage in them. */
export function* scanPng(bytesMax: number): Scan {
  yield skipped(SIGNATURE_BYTES);
  const start = yield exactly(8 + HEADER_BYTES + CHECKSUM_BYTES);
  const header = start.readUInt32BE(0) === HEADER_BYTES && start.toString('latin1', 4, 8) === 'IHDR';
  const shape = header ? readHeader(start.subarray(8, 8 + HEADER_BYTES)) : null;
  const isIntact = crc32(start.subarray(4, 8 + HEADER_BYTES)) === start.readUInt32BE(8 + HEADER_BYTES);
  if (shape === null || !isIntact) return 'its header is not one of a PNG';
  const pixels = new CompressedPixels();
  let others = 0;
  for (let pixelChunks = 0; ;) {
    const head = yield exactly(8);
    const length = head.readUInt32BE(0);
    if (length > bytesMax) return 'a chunk is longer than the file may be';
    const type = head.toString('latin1', 4, 8);
    if (type === 'IEND') {
      if (!pixels.canHold(shape)) return 'it has too few bytes for its pixels';
      yield skipped(length + CHECKSUM_BYTES);
      return null;
    }
    if (type !== 'IDAT') {
      others += 1;
      if (!isName(head) || others > OTHER_CHUNKS_MAX) return 'its chunks are in no order of a PNG';
      yield skipped(length + CHECKSUM_BYTES);
      continue;
    }
    pixelChunks += 1;
    if (pixelChunks > PIXEL_CHUNKS_MAX) return 'its pixels are in too many pieces';
    let checksum = crc32(head.subarray(4));
    for (let left = length; left > 0;) {
      const piece = yield some(left);
      if (!pixels.add(piece)) return 'its pixels are not packed with zlib';
      checksum = crc32(piece, checksum);
      left -= piece.length;
    }
    const expected = yield exactly(CHECKSUM_BYTES);
    if (expected.readUInt32BE(0) !== checksum) return 'its pixels fail their checksum';
  }
}

/** Whether a chunk's name consists of four letters. */
function isName(head: Buffer): boolean {
  for (let at = 4; at < 8; at += 1) {
    const letter = (head[at] ?? 0) | 0x20;
    if (letter < 0x61 || letter > 0x7a) return false;
  }
  return true;
}

const MARKER = 0xff;
const END_OF_IMAGE = 0xd9;
const START_OF_SCAN = 0xda;
const HUFFMAN_FRAMES: readonly number[] = [0xc0, 0xc1, 0xc2];
/** A colour profile may have 255 segments, and a thumbnail or a description a few dozen. */
const SEGMENTS_MAX = 1_000;
const BLOCK_SIDE = 8;

/**
 * Checks the segments of a JPEG. Decoders skip bytes between two segments, and some cameras write such bytes; from there on this scan
 * only searches for the end. Whether there is a frame is then left to the decoder, which gets no more than a megabyte to find it.
 */
export function* scanJpeg(): Scan {
  yield skipped(2);
  let pictureBytesMin = 0;
  for (let segments = 0; segments < SEGMENTS_MAX; segments += 1) {
    const head = yield exactly(4);
    const [marker, kind = 0] = head;
    const length = head.readUInt16BE(2);
    if (marker !== MARKER || !hasLength(kind) || length < 2) break;
    if (HUFFMAN_FRAMES.includes(kind) && length >= 7) {
      const frame = yield exactly(5);
      pictureBytesMin = leastBytesFor(frame.readUInt16BE(1), frame.readUInt16BE(3));
      yield skipped(length - 7);
    } else yield skipped(length - 2);
    if (kind === START_OF_SCAN) break;
  }
  let before = 0;
  for (let bytes = 0; ;) {
    const piece = yield some(Number.MAX_SAFE_INTEGER);
    // An end marker that comes too early may belong to a thumbnail or be part of a table.
    const from = Math.max(0, pictureBytesMin - bytes);
    if (from < piece.length && hasEnd(piece, from, before)) return null;
    before = piece[piece.length - 1] ?? 0;
    bytes += piece.length;
  }
}

/** Whether a length follows this marker: it is no restart, no beginning or end of an image, and no fill byte. */
function hasLength(kind: number): boolean {
  return kind >= 0xc0 && kind !== MARKER && (kind < 0xd0 || kind > END_OF_IMAGE);
}

/** No picture has fewer bytes than this: each block of brightness has a code, and a code has at least one bit. */
function leastBytesFor(height: number, width: number): number {
  return Math.ceil((Math.ceil(width / BLOCK_SIDE) * Math.ceil(height / BLOCK_SIDE)) / 8);
}

/**
 * Searches for the two bytes of the end marker. Only every second byte is read, because one of any two neighbours belongs to the pair.
 * `indexOf` would stop at each first byte of a pair, and takes four times as long for a file that consists of such bytes.
 *
 * @param before the byte before the piece.
 */
function hasEnd(piece: Buffer, from: number, before: number): boolean {
  if (from === 0 && piece[0] === END_OF_IMAGE && before === MARKER) return true;
  for (let at = from + 1; at < piece.length; at += 2) {
    const byte = piece[at];
    if (byte === END_OF_IMAGE ? piece[at - 1] === MARKER : byte === MARKER && piece[at + 1] === END_OF_IMAGE)
      return true;
  }
  return false;
}

const RIFF_HEADER_BYTES = 12;
const CHUNK_HEADER_BYTES = 8;
/** The bytes to recognise a picture: tag and start code if it is lossy, the signature if lossless, the flags of an extended file. */
const BEGINNING_BYTES = 6;
/** A still picture has seven kinds of chunks. A decoder keeps a record of each chunk, and there could be millions. */
const CHUNKS_MAX = 1_000;

/** Checks a WebP. Bytes after the length that RIFF announces are ignored, as decoders do. */
export function* scanWebp(bytesMax: number): Scan {
  const riff = yield exactly(RIFF_HEADER_BYTES);
  // The length counts what follows it, the name of the format first.
  let left = riff.readUInt32LE(4) - 4;
  if (left > bytesMax) return 'it is longer than a file may be';
  let hasPicture = false;
  for (let chunks = 0; left >= CHUNK_HEADER_BYTES; chunks += 1) {
    const head = yield exactly(CHUNK_HEADER_BYTES);
    const type = head.toString('latin1', 0, 4);
    const length = head.readUInt32LE(4);
    left -= CHUNK_HEADER_BYTES;
    if (length > left) return 'a chunk is longer than the file';
    if (chunks === CHUNKS_MAX) return 'it has too many chunks';
    const isPicture = type === 'VP8 ' || type === 'VP8L';
    if (isPicture || type === 'VP8X') {
      if (length < BEGINNING_BYTES) return 'its picture is cut short';
      const fault = findFault(type, yield exactly(BEGINNING_BYTES));
      if (fault !== null) return fault;
    } else if (chunks === 0) return 'its chunks are in no order of a WebP';
    hasPicture ||= isPicture;
    // A chunk of odd length is followed by one byte that no length counts.
    const padded = Math.min(left, length + (length & 1));
    yield skipped(isPicture || type === 'VP8X' ? padded - BEGINNING_BYTES : padded);
    left -= padded;
  }
  yield skipped(left);
  return hasPicture ? null : 'it has no picture';
}

function findFault(type: string, beginning: Buffer): string | null {
  switch (type) {
    case 'VP8 ':
      return beginning.readUIntLE(3, 3) === LOSSY_START_CODE ? null : 'its picture is damaged';
    case 'VP8L':
      return beginning[0] === LOSSLESS_SIGNATURE ? null : 'its picture is damaged';
    default:
      return ((beginning[0] ?? 0) & FLAGS.animation) === 0 ? null : 'it is an animation';
  }
}
