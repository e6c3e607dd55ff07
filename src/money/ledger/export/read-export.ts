import { TextDecoder } from 'node:util';
import { decodeCell, encodeCell } from '../../../platform/common/csv-cell.js';
import {
  BARE_COLUMNS,
  END_MARK,
  EXPORT_COLUMNS,
  parseCsvEnd,
  type ExportEnd,
  type ExportRow,
} from './export-format.js';

/** What is wrong with a row before any rule of the ledger is asked. */
export type Misspelling = {
  readonly column: string | null;
  readonly expected: string;
  readonly found: string;
};

/** One record of an export file and the line it begins on. */
export type ExportRecord =
  | { readonly line: number; readonly row: ExportRow }
  | { readonly line: number; readonly end: ExportEnd }
  /** A row whose values can be read, but that no export spells like this. */
  | { readonly line: number; readonly row: ExportRow; readonly misspelt: Misspelling }
  | { readonly line: number; readonly unreadable: string }
  /** The end of the file; `line` is the one that would come next. */
  | { readonly line: number; readonly over: true };

/** The file is something else altogether: a web page, an error answer, a spreadsheet. */
export class NotAnExportError extends Error {
  constructor(reason: string) {
    super(`This is not a ledger export: ${reason}.`);
    this.name = 'NotAnExportError';
  }
}

/**
 * Reads an export in either format, in pieces of bounded size, exactly as it was written: every record has one
 * spelling, and any other is refused, so that no other reader can see other values in a file that was verified.
 * What cannot be read is a record too, and always the last one.
 *
 * @throws NotAnExportError when the beginning is not that of an export.
 */
export async function* readExport(input: AsyncIterable<Buffer>): AsyncGenerator<readonly ExportRecord[]> {
  const blocks = fileLines(input);
  let records: RecordReader | null = null;
  for await (const block of blocks) {
    records ??= block.lines[0]?.startsWith('{') === true ? new JsonLines() : new CsvRecords();
    const read = records.next(block);
    yield read;
    if (read.some((record) => 'unreadable' in record || 'misspelt' in record)) return;
  }
  yield records === null ? [{ line: 1, over: true }] : records.finish();
}

/** Turns the lines of a file into its records. */
type RecordReader = {
  next(block: FileLines): readonly ExportRecord[];
  finish(): readonly ExportRecord[];
};

class JsonLines implements RecordReader {
  private line = 0;

  next({ lines, broken }: FileLines): readonly ExportRecord[] {
    const records = lines.map((text) => jsonRecord((this.line += 1), text));
    return broken === null ? records : [...records, { line: this.line + 1, unreadable: broken }];
  }

  finish(): readonly ExportRecord[] {
    return [{ line: this.line + 1, over: true }];
  }
}

class CsvRecords implements RecordReader {
  private line = 0;
  private started = 1;
  private pending = '';
  private withinQuotes = false;
  private header = false;

  next({ lines, broken }: FileLines): readonly ExportRecord[] {
    const records = lines.flatMap((text) => this.nextLine(text));
    if (broken === null) return records;
    return [...records, { line: this.withinQuotes ? this.started : this.line + 1, unreadable: broken }];
  }

  finish(): readonly ExportRecord[] {
    const cut = this.withinQuotes ? this.record(this.pending.slice(0, -1)) : [];
    return [...cut, { line: this.line + 1, over: true }];
  }

  private nextLine(text: string): ExportRecord[] {
    this.line += 1;
    if (!this.withinQuotes) this.started = this.line;
    const record = this.pending + text;
    this.withinQuotes = isWithinQuotes(text, this.withinQuotes);
    this.pending = this.withinQuotes ? `${record}\n` : '';
    if (!this.withinQuotes) return this.record(record);
    return isTooLong(record) ? [{ line: this.started, unreadable: TOO_LONG }] : [];
  }

  private record(text: string): ExportRecord[] {
    // A program on Windows ends a line with two characters; which of the two it was is no part of any value.
    const record = text.endsWith('\r') ? text.slice(0, -1) : text;
    if (this.header) return [csvRecord(this.started, record)];
    if (record !== EXPORT_COLUMNS.join(',')) {
      throw new NotAnExportError('its first line does not name the columns of one');
    }
    this.header = true;
    return [];
  }
}

function isTooLong(text: string): boolean {
  return text.length * 3 > RECORD_BYTES_MAX && Buffer.byteLength(text) > RECORD_BYTES_MAX;
}

function jsonRecord(line: number, text: string): ExportRecord {
  if (isTooLong(text)) return { line, unreadable: TOO_LONG };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { line, unreadable: 'the line is not a whole JSON object; was the file cut short?' };
  }
  if (line === 1 && isErrorAnswer(value))
    throw new NotAnExportError('it is an error that the service answered');
  if (isObject(value) && value['object'] === END_MARK) {
    return hasForm(value, END_MEMBERS, END_NULLABLE) && isSpelt(value, END_MEMBERS, text)
      ? { line, end: value as ExportEnd }
      : { line, unreadable: 'the last line has missing, further, repeated or misspelt members' };
  }
  if (!hasForm(value, EXPORT_COLUMNS, NULLABLE)) {
    return { line, unreadable: `the members are not exactly ${EXPORT_COLUMNS.join(', ')} as strings` };
  }
  const row = value as ExportRow;
  return isSpelt(row, EXPORT_COLUMNS, text) ? { line, row } : { line, row, misspelt: MISSPELT_JSON };
}

/** A member that comes twice is one of these: `JSON.parse` takes its last value, other readers the first. */
const MISSPELT_JSON = {
  column: null,
  expected: 'each member once, in the order of the columns, spelt as JSON.stringify does and without blanks',
  found: 'a member that comes twice, another order or another spelling',
} as const;

const NULLABLE: ReadonlySet<string> = new Set(['lot_id', 'memo']);
const END_MEMBERS = ['object', 'rows', 'from', 'to', 'account', 'exported_at', 'digest'];
const END_NULLABLE: ReadonlySet<string> = new Set(['from', 'to', 'account']);

function hasForm(value: unknown, members: readonly string[], nullable: ReadonlySet<string>): boolean {
  if (!isObject(value) || Object.keys(value).length !== members.length) return false;
  return members.every(
    (name) => typeof value[name] === 'string' || (value[name] === null && nullable.has(name)),
  );
}

/** Whether the text is how an export writes these members: written again, they come to the same text. */
function isSpelt(value: object, members: readonly string[], text: string): boolean {
  return Object.keys(value).every((name, at) => name === members[at]) && JSON.stringify(value) === text;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isErrorAnswer(value: unknown): boolean {
  return isObject(value) && isObject(value['error']) && typeof value['error']['message'] === 'string';
}

function csvRecord(line: number, text: string): ExportRecord {
  if (isTooLong(text)) return { line, unreadable: TOO_LONG };
  const cells = parseCsvRecord(text);
  if (cells === null) {
    return {
      line,
      unreadable: 'the quotes of the record are not as an export writes them; was the file cut short?',
    };
  }
  if (cells[0] === END_MARK) {
    const end = parseCsvEnd(cells);
    return end === null ? { line, unreadable: 'the last line is not as an export writes it' } : { line, end };
  }
  if (cells.length !== EXPORT_COLUMNS.length) {
    const reason = `${cells.length} cells instead of ${EXPORT_COLUMNS.length}; was the file cut short?`;
    return { line, unreadable: reason };
  }
  return csvRow(line, cells);
}

function csvRow(line: number, cells: readonly string[]): ExportRecord {
  const values: Record<string, string | null> = {};
  let misspelt: Misspelling | null = null;
  EXPORT_COLUMNS.forEach((column, index) => {
    const cell = cells[index] as string;
    const text = BARE_COLUMNS.has(column) ? cell : decodeCell(cell);
    values[column] = text ?? (NULLABLE.has(column) ? null : '');
    if (BARE_COLUMNS.has(column) || misspelt !== null) return;
    const expected = encodeCell(values[column]);
    if (expected !== cell) misspelt = { column, expected, found: cell };
  });
  const row = values as unknown as ExportRow;
  return misspelt === null ? { line, row } : { line, row, misspelt };
}

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

/**
 * The records of a CSV (RFC 4180) in the one spelling that an export uses: cells are divided by commas, and a cell
 * is quoted, with its own quotes doubled, exactly when it holds a comma, a quote, a carriage return or a
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
