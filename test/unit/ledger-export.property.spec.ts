import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  BARE_COLUMNS,
  EXPORT_COLUMNS,
  EXPORT_FORMATS,
  type ExportRow,
} from '../../src/money/ledger/export/export-format.js';
import { readExport, type ExportRecord } from '../../src/money/ledger/export/read-export.js';
import { anyText } from '../support/any-text.js';
import { checkProperty } from '../support/property.js';
import { inPieces, putTogether, verdictOf } from '../support/wallet/export-files.js';
import { anyBooks, END } from '../support/wallet/export-samples.js';

const texts = EXPORT_COLUMNS.filter((column) => !BARE_COLUMNS.has(column));

/** Rows whose ten texts are anything at all. No rule of the ledger holds between them: they are only read. */
const anyRow: fc.Arbitrary<ExportRow> = fc
  .record(
    Object.fromEntries(
      texts.map((column) => [
        column,
        column === 'memo' || column === 'lot_id' ? fc.option(anyText()) : anyText(),
      ]),
    ),
  )
  .map((row) => ({
    ...(row as unknown as ExportRow),
    seq: '1',
    amount_micros: '1',
    posted_after_micros: '-1',
    leg: '0',
    created_at: '2026-11-22T08:02:11.123Z',
    previous_hash: '0'.repeat(64),
    hash: 'f'.repeat(64),
  }));

async function recordsOf(text: string, pieceBytes: number): Promise<ExportRecord[]> {
  const records: ExportRecord[] = [];
  for await (const read of readExport(inPieces(text, pieceBytes))) records.push(...read);
  return records;
}

const pieceBytes = fc.integer({ min: 1, max: 700 });

describe.each(EXPORT_FORMATS)('an export as %s', (format) => {
  it('reads back exactly as it was written, whatever any text column contains, wherever it is cut into pieces', async () => {
    await checkProperty(
      `an export as ${format} reads back exactly`,
      fc.asyncProperty(fc.array(anyRow, { minLength: 1, maxLength: 4 }), pieceBytes, async (rows, size) => {
        const text = putTogether({ rows, end: END }, format);
        const records = await recordsOf(text, size);
        const read = records.flatMap((record) => ('row' in record ? [record.row] : []));
        expect(read).toEqual(rows.map((row) => Object.fromEntries(EXPORT_COLUMNS.map((c) => [c, row[c]]))));
        expect(records.filter((record) => 'misspelt' in record || 'unreadable' in record)).toEqual([]);
        expect(records.at(-1)).toEqual({ line: text.split('\n').length, over: true });
      }),
      { runs: 600 },
    );
  });

  it('proves itself, whatever its texts contain, also when a program has put a byte order mark before it', async () => {
    await checkProperty(
      `an export as ${format} proves itself`,
      fc.asyncProperty(anyBooks, fc.boolean(), pieceBytes, async (file, marked, size) => {
        const text = `${marked ? '\uFEFF' : ''}${putTogether(file, format)}`;
        expect(await verdictOf(text, size)).toMatchObject({ ok: true });
      }),
      { runs: 600 },
    );
  });
});
