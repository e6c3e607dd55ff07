import { exactly, skipped, some, type Scan } from './scan-steps.js';

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
