const TABLES_MAX = 4;
const COEFFICIENTS = 64;
const CODE_BITS_MAX = 16;
/** A table begins with one byte for class and id, followed by the number of codes of each length. */
const HUFFMAN_HEADER_BYTES = 1 + CODE_BITS_MAX;
/** No picture contains a difference with more bits than this. */
const DC_SYMBOL_MAX = 15;

/** The number of bits of the shortest code, by the number of the table. */
export type HuffmanTables = { readonly dc: Map<number, number>; readonly ac: Map<number, number> };

/** Adds the tables of a segment. False when they are damaged. */
export function readQuantisationTables(segment: Buffer, known: Set<number>): boolean {
  let at = 0;
  while (at < segment.length) {
    const head = segment[at] ?? 0;
    const [bytes, id] = [(head >> 4) + 1, head & 0x0f];
    const end = at + 1 + COEFFICIENTS * bytes;
    if (bytes > 2 || id >= TABLES_MAX || end > segment.length) return false;
    for (let value = at + 1; value < end; value += bytes) {
      if (segment.readUIntBE(value, bytes) === 0) return false;
    }
    known.add(id);
    at = end;
  }
  return at > 0;
}

/** Adds the tables of a segment. False when they are damaged. */
export function readHuffmanTables(segment: Buffer, known: HuffmanTables): boolean {
  let at = 0;
  while (at < segment.length) {
    if (segment.length - at < HUFFMAN_HEADER_BYTES) return false;
    const head = segment[at] ?? 0;
    const [kind, id] = [head >> 4, head & 0x0f];
    if (kind > 1 || id >= TABLES_MAX) return false;
    const counts = segment.subarray(at + 1, at + HUFFMAN_HEADER_BYTES);
    const codes = counts.reduce((sum, count) => sum + count, 0);
    const symbols = segment.subarray(at + HUFFMAN_HEADER_BYTES, at + HUFFMAN_HEADER_BYTES + codes);
    if (codes === 0 || symbols.length < codes || new Set(symbols).size < codes) return false;
    if (kind === 0 && symbols.some((symbol) => symbol > DC_SYMBOL_MAX)) return false;
    if (!isPrefixCode(counts)) return false;
    (kind === 0 ? known.dc : known.ac).set(id, counts.findIndex((count) => count > 0) + 1);
    at += HUFFMAN_HEADER_BYTES + codes;
  }
  return at > 0;
}

/** Whether this many codes of each length can be distinguished. */
function isPrefixCode(counts: Buffer): boolean {
  let free = 1;
  for (const count of counts) {
    free = 2 * free - count;
    if (free < 0) return false;
  }
  return true;
}
