import { exactly, skipped, type Scan } from './scan-steps.js';
import { FLAGS, LOSSLESS_SIGNATURE, LOSSY_START_CODE } from './webp-structure.js';

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
