import { StringDecoder } from 'node:string_decoder';
import { parse } from 'csv-parse';
import { decodeCell } from './csv-cell.js';
import { END_MARK, EXPORT_COLUMNS, parseCsvEnd, type ExportEnd, type ExportRow } from './export-format.js';

/** One record of an export file and the line it begins on. */
export type ExportRecord =
  | { readonly line: number; readonly row: ExportRow }
  | { readonly line: number; readonly end: ExportEnd }
  | { readonly line: number; readonly unreadable: string };

/** The file is something else altogether: a web page, an error answer, a spreadsheet. */
export class NotAnExportError extends Error {
  constructor(reason: string) {
    super(`This is not a ledger export: ${reason}.`);
    this.name = 'NotAnExportError';
  }
}

/** Far beyond any row (a memo has at most 500 characters); keeps a broken file from filling the memory. */
const RECORD_CHARS_MAX = 65_536;
const BYTE_ORDER_MARK = '\uFEFF';

/**
 * Reads an export in either format, in pieces of bounded size, exactly as it was written. What cannot be
 * read is a record too, and always the last one.
 *
 * @throws NotAnExportError when the beginning is not that of an export.
 */
export async function* readExport(input: AsyncIterable<Buffer>): AsyncGenerator<readonly ExportRecord[]> {
  const chunks = decoded(input);
  const first = await chunks.next();
  if (first.done === true) return;
  const rest = startingWith(first.value.replace(BYTE_ORDER_MARK, ''), chunks);
  yield* first.value.trimStart().startsWith('{') ? readJsonLines(rest) : readCsv(rest);
}

/** UTF-8, with characters that lie across two chunks put together. */
async function* decoded(input: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new StringDecoder('utf8');
  for await (const chunk of input) {
    const text = decoder.write(chunk);
    if (text !== '') yield text;
  }
  const last = decoder.end();
  if (last !== '') yield last;
}

async function* startingWith(first: string, rest: AsyncGenerator<string>): AsyncGenerator<string> {
  yield first;
  yield* rest;
}

async function* readJsonLines(chunks: AsyncIterable<string>): AsyncGenerator<readonly ExportRecord[]> {
  let line = 0;
  let pending = '';
  for await (const chunk of chunks) {
    const lines = (pending + chunk).split('\n');
    pending = lines.pop() ?? '';
    const records = lines.map((text) => jsonRecord((line += 1), text));
    yield records;
    if (records.some((record) => 'unreadable' in record)) return;
    if (pending.length > RECORD_CHARS_MAX) {
      yield [{ line: line + 1, unreadable: 'the line is longer than any row' }];
      return;
    }
  }
  if (pending !== '') yield [jsonRecord(line + 1, pending)];
}

function jsonRecord(line: number, text: string): ExportRecord {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { line, unreadable: 'the line is not a whole JSON object; was the file cut short?' };
  }
  if (line === 1 && isErrorAnswer(value))
    throw new NotAnExportError('it is an error that the service answered');
  if (isObject(value) && value['object'] === END_MARK) {
    return hasForm(value, END_MEMBERS, END_NULLABLE)
      ? { line, end: value as ExportEnd }
      : { line, unreadable: 'the last line has missing, further or misspelt members' };
  }
  return hasForm(value, EXPORT_COLUMNS, NULLABLE)
    ? { line, row: value as ExportRow }
    : { line, unreadable: `the members are not exactly ${EXPORT_COLUMNS.join(', ')} as strings` };
}

const NULLABLE: ReadonlySet<string> = new Set(['lot_id', 'memo']);
const END_MEMBERS = ['object', 'rows', 'from', 'to', 'account', 'exported_at', 'digest'] as const;
const END_NULLABLE: ReadonlySet<string> = new Set(['from', 'to', 'account']);

function hasForm(value: unknown, members: readonly string[], nullable: ReadonlySet<string>): boolean {
  if (!isObject(value) || Object.keys(value).length !== members.length) return false;
  return members.every(
    (name) => typeof value[name] === 'string' || (value[name] === null && nullable.has(name)),
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isErrorAnswer(value: unknown): boolean {
  return isObject(value) && isObject(value['error']) && typeof value['error']['message'] === 'string';
}

async function* readCsv(chunks: AsyncIterable<string>): AsyncGenerator<readonly ExportRecord[]> {
  const parser = parse({
    relax_column_count: true,
    record_delimiter: ['\r\n', '\n'],
    max_record_size: RECORD_CHARS_MAX,
  });
  const state = { failure: null as Error | null, line: 1, header: false };
  parser.on('error', (error: Error) => (state.failure = error));
  for await (const chunk of chunks) {
    parser.write(chunk);
    yield csvRecords(parser, state);
    if (state.failure !== null) break;
  }
  if (state.failure === null) {
    const ended = new Promise((resolve) => parser.once('end', resolve).once('error', resolve));
    parser.end();
    yield csvRecords(parser, state);
    parser.resume();
    await ended;
    yield csvRecords(parser, state);
  }
  if (state.failure !== null) {
    yield [{ line: state.line, unreadable: `the record cannot be read (${firstSentence(state.failure)})` }];
  }
}

function csvRecords(
  parser: ReturnType<typeof parse>,
  state: { line: number; header: boolean },
): readonly ExportRecord[] {
  const records: ExportRecord[] = [];
  for (let cells = read(parser); cells !== null; cells = read(parser)) {
    const { line } = state;
    state.line += 1 + lineEnds(cells);
    if (state.header) records.push(csvRecord(line, cells));
    else if (cells.join(',') === EXPORT_COLUMNS.join(',')) state.header = true;
    else throw new NotAnExportError('its first line does not name the columns of one');
  }
  return records;
}

function read(parser: ReturnType<typeof parse>): string[] | null {
  return parser.read() as string[] | null;
}

/** A memo may have several lines. */
function lineEnds(cells: readonly string[]): number {
  let count = 0;
  for (const cell of cells) {
    for (let at = cell.indexOf('\n'); at !== -1; at = cell.indexOf('\n', at + 1)) count += 1;
  }
  return count;
}

function csvRecord(line: number, cells: readonly string[]): ExportRecord {
  if (cells[0] === END_MARK) {
    const end = parseCsvEnd(cells);
    return end === null ? { line, unreadable: 'the last line is not as an export writes it' } : { line, end };
  }
  if (cells.length !== EXPORT_COLUMNS.length) {
    const reason = `${cells.length} cells instead of ${EXPORT_COLUMNS.length}; was the file cut short?`;
    return { line, unreadable: reason };
  }
  const row: Record<string, string | null> = {};
  EXPORT_COLUMNS.forEach((column, index) => {
    const text = decodeCell(cells[index] as string);
    row[column] = text ?? (NULLABLE.has(column) ? null : '');
  });
  return { line, row: row as unknown as ExportRow };
}

function firstSentence(error: Error): string {
  return error.message.split(/[:,.]\s/)[0] as string;
}
