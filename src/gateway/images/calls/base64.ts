/**
 * An image is converted in pieces: strings of this size are short-lived and cheap, while one of the whole image is memory
 * that the kernel has to map and the collector to return. A megapixel of JPEG takes 30 us so instead of 340. Both are
 * whole groups: four characters are three bytes.
 */
const PIECE_CHARS = 65_536;
const PIECE_BYTES = (PIECE_CHARS / 4) * 3;

/** The bytes of base64 text. As tolerant as `Buffer.from`: what is no base64 is left out. */
export function decodeBase64(text: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(Math.ceil(text.length / 4) * 3);
  let length = 0;
  for (let at = 0; at < text.length; at += PIECE_CHARS) {
    const isLast = at + PIECE_CHARS >= text.length;
    const written = bytes.write(text.toString('latin1', at, at + PIECE_CHARS), length, 'base64');
    // There are line breaks in it, or an end in the middle: its groups are not where they are looked for.
    if (!isLast && written !== PIECE_BYTES) return Buffer.from(text.toString('latin1'), 'base64');
    length += written;
  }
  return bytes.subarray(0, length);
}

export function base64Length(bytes: Pick<Buffer, 'length'>): number {
  return Math.ceil(bytes.length / 3) * 4;
}

/** Writes `bytes` as base64 text into `target`. Answers where it ends. */
export function writeBase64(target: Buffer, offset: number, bytes: Buffer): number {
  let end = offset;
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    end += target.write(bytes.toString('base64', at, at + PIECE_BYTES), end, 'latin1');
  }
  return end;
}

/**
 * Bytes that come in chunks of any size, as base64 text in pieces. Throws at their end when they were not exactly `length`: the
 * text has been announced to be of that length.
 */
export async function* encodeBase64(
  chunks: AsyncIterable<Buffer> | Iterable<Buffer>,
  length: number,
): AsyncGenerator<Buffer> {
  let left = length;
  /** The beginning of a group whose end is in the next chunk: at most two bytes. */
  let begun = Buffer.alloc(0);
  for await (const chunk of chunks) {
    left -= chunk.length;
    const bytes = begun.length === 0 ? chunk : Buffer.concat([begun, chunk]);
    const end = bytes.length - (bytes.length % 3);
    for (let at = 0; at < end; at += PIECE_BYTES) {
      yield Buffer.from(bytes.toString('base64', at, Math.min(at + PIECE_BYTES, end)), 'latin1');
    }
    begun = Buffer.from(bytes.subarray(end));
  }
  if (left !== 0) throw new Error(`${length - left} bytes came instead of ${length}`);
  if (begun.length > 0) yield Buffer.from(begun.toString('base64'), 'latin1');
}
