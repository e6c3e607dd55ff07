/**
 * The order of `COLLATE "C"`, in which ids are sorted, locked and exported: by bytes. JavaScript's own order
 * of strings differs from it beyond U+FFFF.
 */
export function compareBytes(a: string, b: string): number {
  return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b));
}
