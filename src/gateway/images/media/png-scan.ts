import { crc32 } from 'node:zlib';
import { CompressedPixels, readHeader } from './png-structure.js';
import { exactly, skipped, some, type Scan } from './scan-steps.js';

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
