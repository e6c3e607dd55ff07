import { TextDecoder } from 'node:util';

/** Complete lines of a file, without their line feeds. `broken` says why the line after them cannot be one. */
export type FileLines = { readonly lines: readonly string[]; readonly broken: string | null };

/** Far beyond any row (a memo has at most 500 characters); keeps a broken file from filling the memory. */
export const RECORD_BYTES_MAX = 65_536;
export const TOO_LONG = 'the record is longer than any row';
const NOT_UTF_8 = 'the line is not UTF-8';

const LINE_FEED = 0x0a;
const BYTE_ORDER_MARK = /^\uFEFF/;

/**
 * The lines of a file exactly as they were written. Only a byte order mark that is the very first character of
 * the file is left out, once: editors and spreadsheets put it there, and no export begins with it. Everywhere
 * else U+FEFF is text of the person who typed it.
 *
 * Bytes that are not UTF-8 are refused. A decoder that puts U+FFFD in their place would read two different
 * files as one.
 */
export async function* fileLines(input: AsyncIterable<Buffer>): AsyncGenerator<FileLines> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let carried: Buffer = Buffer.alloc(0);
  let first = true;
  for await (const chunk of input) {
    const bytes = carried.length === 0 ? chunk : Buffer.concat([carried, chunk]);
    const end = bytes.lastIndexOf(LINE_FEED) + 1;
    // A line feed is never a part of another character, so no character lies across this border.
    carried = bytes.subarray(end);
    if (end > 0) {
      const block = decodeLines(decoder, bytes.subarray(0, end - 1));
      yield first ? withoutByteOrderMark(block) : block;
      if (block.broken !== null) return;
      first = false;
    }
    if (carried.length > RECORD_BYTES_MAX + 1) {
      yield { lines: [], broken: TOO_LONG };
      return;
    }
  }
  if (carried.length === 0) return;
  const block = decodeLines(decoder, carried);
  yield first ? withoutByteOrderMark(block) : block;
}

function decodeLines(decoder: TextDecoder, bytes: Buffer): FileLines {
  const text = decodeText(decoder, bytes);
  if (text !== null) return { lines: text.split('\n'), broken: null };
  const lines: string[] = [];
  for (let at = 0; ;) {
    const end = bytes.indexOf(LINE_FEED, at);
    const line = decodeText(decoder, bytes.subarray(at, end === -1 ? bytes.length : end));
    if (line === null) return { lines, broken: NOT_UTF_8 };
    lines.push(line);
    at = end + 1;
  }
}

function decodeText(decoder: TextDecoder, bytes: Buffer): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}

function withoutByteOrderMark({ lines, broken }: FileLines): FileLines {
  const [first, ...rest] = lines;
  if (first === undefined || !BYTE_ORDER_MARK.test(first)) return { lines, broken };
  return { lines: [first.replace(BYTE_ORDER_MARK, ''), ...rest], broken };
}
