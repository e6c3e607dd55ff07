/**
 * One text cell of an exported CSV, safe to open in a spreadsheet and exact to read back.
 *
 * A spreadsheet runs a cell that begins with = + - or @ as a formula, and memos are written by customers. So
 * an apostrophe goes before such a character, and reading takes it away again. Three subtleties:
 *
 * - A spreadsheet set to semicolons or tabs does not see our quotes and starts a new cell, or a new row at a
 *   line end, in the middle of a memo: the rule holds after each of these as well.
 * - Text that has apostrophes in that place already gets one more, so that reading back is exact. So does text
 *   of nothing but apostrophes.
 * - An empty cell means null; empty text is written as one apostrophe.
 *
 * The README of the ledger says the same for readers in other languages. What counts as blank is therefore
 * written out: `\s` means another set in each of them, and may grow with Unicode.
 */
const BLANK = '"\\t-\\r \\u00A0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000\\uFEFF';
const CELL_START = `(^|[;\\t\\r\\n])([${BLANK}]*)`;
/** With the full-width forms, which some East Asian spreadsheets take for the same. */
const FORMULA = `(?=[=+\\-@\\uFF1D\\uFF0B\\uFF0D\\uFF20])`;
const UNSAFE = new RegExp(`${CELL_START}('*)${FORMULA}`, 'g');
const ESCAPED = new RegExp(`${CELL_START}'('*)${FORMULA}`, 'g');
const ONLY_APOSTROPHES = /^'*$/;
/** Almost no cell has any of these, and one look is cheaper than the rule. */
const CANDIDATE = /['=+\-@\uFF1D\uFF0B\uFF0D\uFF20]/;

export function encodeCell(text: string | null): string {
  if (text === null) return '';
  if (text === '') return "'";
  if (!CANDIDATE.test(text)) return text;
  if (ONLY_APOSTROPHES.test(text)) return `'${text}`;
  return text.replace(UNSAFE, "$1$2'$3");
}

export function decodeCell(cell: string): string | null {
  if (cell === '') return null;
  if (!cell.includes("'")) return cell;
  if (ONLY_APOSTROPHES.test(cell)) return cell.slice(1);
  return cell.replace(ESCAPED, '$1$2$3');
}
