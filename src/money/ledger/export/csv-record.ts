/**
 * The records of a CSV (RFC 4180) in the one spelling that an export uses: cells are divided by commas, and a cell
 * stands in quotes, with its own quotes doubled, exactly when it holds a comma, a quote, a carriage return or a
 * line feed.
 *
 * A library that reads CSV is made to accept other spellings too, and each reads the doubtful ones in its own
 * way; a file that proves money must not mean two things to two readers (ADR 33).
 */
const CELL = /(?:"([^"]*(?:""[^"]*)*)"|([^",\r\n]*))(,|$)/y;
const NEEDS_QUOTES = /[",\r\n]/;

/** The cells of one record, given without its line end; null when it is spelt in any other way. */
export function parseCsvRecord(record: string): string[] | null {
  const cells: string[] = [];
  CELL.lastIndex = 0;
  for (;;) {
    const match = CELL.exec(record);
    if (match === null) return null;
    const [, quoted, bare = '', separator] = match;
    if (quoted !== undefined && !NEEDS_QUOTES.test(quoted)) return null;
    cells.push(quoted === undefined ? bare : quoted.replaceAll('""', '"'));
    if (separator === '') return cells;
  }
}

/** Whether a record goes on after these lines of it: a line end within quotes is text. */
export function isWithinQuotes(text: string, within: boolean): boolean {
  let open = within;
  for (let at = text.indexOf('"'); at !== -1; at = text.indexOf('"', at + 1)) open = !open;
  return open;
}
