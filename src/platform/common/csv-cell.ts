/**
 * One text cell of an exported CSV, safe to open in a spreadsheet and exact to read back.
 *
 * A spreadsheet runs a cell that begins with = + - or @ as a formula, and customers write memos. So an apostrophe is
 * inserted before such a character, and removed on reading. Three cases need more:
 *
 * - A spreadsheet that is set to semicolons or tabs does not recognise the quotes and starts a new cell, or a new row at a
 *   line end, in the middle of a memo: the rule therefore also applies after each of these.
 * - Text that already has apostrophes in that position gets one more, so that reading back is exact. So does text
 *   that consists of apostrophes only.
 * - An empty cell means null; empty text is written as one apostrophe.
 *
 * The ledger's README documents this for readers in other languages. The blank characters are therefore listed
 * explicitly: `\s` means a different set in each language, and may grow with Unicode.
 */
const BLANK = '"\\t-\\r \\u00A0\\u1680\\u2000-\\u200A\\u2028\\u2029\\u202F\\u205F\\u3000\\uFEFF';
const CELL_START = `(^|[;\\t\\r\\n])([${BLANK}]*)`;
/** Includes the full-width forms, which some East Asian spreadsheets treat as equal. */
const FORMULA = `(?=[=+\\-@\\uFF1D\\uFF0B\\uFF0D\\uFF20])`;
const UNSAFE = new RegExp(`${CELL_START}('*)${FORMULA}`, 'g');
const ESCAPED = new RegExp(`${CELL_START}'('*)${FORMULA}`, 'g');
const ONLY_APOSTROPHES = /^'*$/;
/** Almost no cell has any of these, and this check is cheaper than the rule. */
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
