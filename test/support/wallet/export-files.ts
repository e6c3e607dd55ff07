import { parse } from 'csv-parse/sync';
import { stringify } from 'csv-stringify/sync';
import {
  EXPORT_COLUMNS,
  EXPORT_ENCODERS,
  ExportDigest,
  type ExportEnd,
  type ExportFormat,
  type ExportRange,
  type ExportRow,
} from '../../../src/money/ledger/export/export-format.js';
import { type Verdict, verifyStream } from '../../../src/money/ledger/export/verify-export.js';
import { LedgerExportService } from '../../../src/finance/exports/ledger-export.service.js';
import { chainHash, GENESIS_HASH } from '../../../src/money/ledger/transfer.js';
import { databaseClock } from '../database/engine.js';
import type { TestBooks } from '../database/test-books.js';

export const EVERYTHING: ExportRange = { from: null, to: null, account: null };

/** An export taken apart, to be tampered with and put together again. */
export type ExportFile = { readonly rows: ExportRow[]; readonly end: ExportEnd };

export async function exportText(
  books: TestBooks,
  format: ExportFormat,
  range: ExportRange = EVERYTHING,
): Promise<string> {
  const service = new LedgerExportService(
    books.dataSource,
    databaseClock(books.dataSource, { nowMs: () => books.nowMs }),
  );
  const chunks: string[] = [];
  for await (const chunk of await service.open(format, range)) chunks.push(String(chunk));
  return chunks.join('');
}

/** Reads the lines with nothing of the product's own reader. */
export function takeApart(jsonLines: string): ExportFile {
  const objects = jsonLines
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as object);
  const { rows, from, to, account, exported_at, digest } = objects.pop() as ExportEnd;
  return { rows: objects as ExportRow[], end: { rows, from, to, account, exported_at, digest } };
}

export function putTogether({ rows, end }: ExportFile, format: ExportFormat): string {
  const encoder = EXPORT_ENCODERS[format];
  return encoder.head + encoder.rows(rows) + encoder.end(end);
}

/** Every hash, link and the digest computed again: what a forger would do who knows how files are made. */
export function forgeHashes({ rows, end }: ExportFile): ExportFile {
  const digest = new ExportDigest();
  const heads = new Map<string, string>();
  const forged = rows.map((row) => {
    const start = row.seq === '1' ? GENESIS_HASH : row.previous_hash;
    const previous_hash = heads.get(row.account_id) ?? start;
    const hash = chainHash(previous_hash, row);
    heads.set(row.account_id, hash);
    digest.add(hash);
    return { ...row, previous_hash, hash };
  });
  return { rows: forged, end: digest.end(end, end.exported_at) };
}

/** One raw cell or member changed, everything else byte for byte as it was. `line` counts from 1 with the CSV's head. */
export function changeCell(
  text: string,
  format: ExportFormat,
  rowIndex: number,
  column: (typeof EXPORT_COLUMNS)[number],
  value: string,
): string {
  if (format === 'jsonl') {
    const lines = text.split('\n');
    const row = JSON.parse(lines[rowIndex] as string) as object;
    lines[rowIndex] = JSON.stringify({ ...row, [column]: value });
    return lines.join('\n');
  }
  const records: string[][] = parse(text);
  (records[rowIndex + 1] as string[])[EXPORT_COLUMNS.indexOf(column)] = value;
  return stringify(records, { quoted_match: /\r/ });
}

/** In small pieces, so that rows and characters lie across their borders. */
export async function verdictOf(file: string | Buffer, pieceBytes = 997): Promise<Verdict> {
  return verifyStream(inPieces(file, pieceBytes));
}

export async function* inPieces(file: string | Buffer, pieceBytes: number): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(file);
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    yield await Promise.resolve(bytes.subarray(at, at + pieceBytes));
  }
}
