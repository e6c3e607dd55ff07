import { createHash } from 'node:crypto';
import { stringify } from 'csv-stringify/sync';
import type { ExportedTransfer } from '../transfer.js';
import { encodeCell } from '../../../platform/common/csv-cell.js';

export const EXPORT_FORMATS = ['csv', 'jsonl'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** A transfer as an export shows it: with its predecessor's hash, so that a part of a chain proves itself too. */
export type ExportRow = ExportedTransfer & { readonly previous_hash: string };

/** In this order, in every format. The first fifteen are what is hashed. */
export const EXPORT_COLUMNS = [
  'account_id',
  'seq',
  'id',
  'kind',
  'debit_account',
  'credit_account',
  'amount_micros',
  'lot_id',
  'posted_after_micros',
  'reference',
  'leg',
  'link_id',
  'actor',
  'memo',
  'created_at',
  'previous_hash',
  'hash',
] as const satisfies readonly (keyof ExportRow)[];

/** Columns whose spelling is digits or hex, so that they can never hold a text that a person wrote. */
export const BARE_COLUMNS: ReadonlySet<string> = new Set([
  'seq',
  'amount_micros',
  'posted_after_micros',
  'leg',
  'created_at',
  'previous_hash',
  'hash',
]);

/** What was asked for. Times are ISO 8601 UTC with milliseconds: `from` is included, `to` is not. */
export type ExportRange = {
  readonly from: string | null;
  readonly to: string | null;
  readonly account: string | null;
};

/** The last line of every export: without it a file was cut short, and with it no row can be missing. */
export type ExportEnd = ExportRange & {
  readonly rows: string;
  readonly exported_at: string;
  /** See `ExportDigest`. */
  readonly digest: string;
};

/** The first column of a CSV's last line, and the `object` member of a JSONL's. */
export const END_MARK = 'end_of_export';

/**
 * SHA-256 over every row's hash followed by a line end, in order, and then over the JSON array
 * `[rows, from, to, account, exported_at]`. Changing, dropping, adding or moving any row changes it, even at
 * the end of a chain, where no later row would notice.
 */
export class ExportDigest {
  private readonly sha256 = createHash('sha256');
  private rows = 0;

  add(rowHash: string): void {
    this.sha256.update(`${rowHash}\n`);
    this.rows += 1;
  }

  /** The last line. Call it once, after the last row. */
  end(range: ExportRange, exportedAt: string): ExportEnd {
    const rows = this.rows.toString();
    const { from, to, account } = range;
    this.sha256.update(JSON.stringify([rows, from, to, account, exportedAt]));
    return { rows, from, to, account, exported_at: exportedAt, digest: this.sha256.digest('hex') };
  }
}

/** Turns rows into the text of a file. */
export type ExportEncoder = {
  readonly head: string;
  rows(rows: readonly ExportRow[]): string;
  end(end: ExportEnd): string;
};

export const EXPORT_ENCODERS: Readonly<Record<ExportFormat, ExportEncoder>> = {
  csv: {
    head: `${EXPORT_COLUMNS.join(',')}\n`,
    rows: (rows) => csv(rows.map(csvCells)),
    end: (end) => csv([csvEndCells(end)]),
  },
  jsonl: {
    head: '',
    rows: (rows) => rows.map((row) => `${toJsonLine(row)}\n`).join(''),
    end: (end) => `${JSON.stringify({ object: END_MARK, ...end })}\n`,
  },
};

/** Fixes the order of the members, whatever object the row is. */
const JSON_COLUMNS = [...EXPORT_COLUMNS];

/** The only spelling of a row in JSONL, without its line feed. */
export function toJsonLine(row: ExportRow): string {
  return JSON.stringify(row, JSON_COLUMNS);
}

function csv(cells: readonly (readonly string[])[]): string {
  // A lone carriage return ends a line for some readers, so it is quoted like a line end.
  return stringify(cells as string[][], { quoted_match: /\r/ });
}

function csvCells(row: ExportRow): string[] {
  return EXPORT_COLUMNS.map((column) =>
    BARE_COLUMNS.has(column) ? (row[column] as string) : encodeCell(row[column]),
  );
}

/** The sum of any column is not touched by this line: only `seq`, the number of rows, holds a number. */
function csvEndCells(end: ExportEnd): string[] {
  const cells: Partial<Record<(typeof EXPORT_COLUMNS)[number], string>> = {
    account_id: END_MARK,
    seq: end.rows,
    memo: `from=${end.from ?? '-'} to=${end.to ?? '-'} account=${end.account ?? '-'}`,
    created_at: end.exported_at,
    hash: end.digest,
  };
  return EXPORT_COLUMNS.map((column) => cells[column] ?? '');
}

const END_MEMO = /^from=([^ ]+) to=([^ ]+) account=(.+)$/s;

/** Reads what `csvEndCells` wrote; null when the cells are not such a line. */
export function parseCsvEnd(cells: readonly string[]): ExportEnd | null {
  const at = (column: (typeof EXPORT_COLUMNS)[number]) => cells[EXPORT_COLUMNS.indexOf(column)] ?? '';
  const memo = END_MEMO.exec(at('memo'));
  if (memo === null) return null;
  const [from = null, to = null, account = null] = memo.slice(1).map((text) => (text === '-' ? null : text));
  const end = { rows: at('seq'), from, to, account, exported_at: at('created_at'), digest: at('hash') };
  const exact = csvEndCells(end).every((cell, index) => cell === cells[index]);
  return exact && cells.length === EXPORT_COLUMNS.length ? end : null;
}
