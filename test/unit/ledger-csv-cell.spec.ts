import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { decodeCell, encodeCell } from '../../src/ledger/export/csv-cell.js';
import { AWKWARD_MEMOS } from '../support/database/test-books.js';

/** What a spreadsheet would run, whatever it takes for the separator between cells: comma, semicolon or tab. */
const RUNS = /(^|[;\t\r\n])["\s]*[=+\-@＝＋－＠]/u;

const nasty = fc.string({
  unit: fc.constantFrom("'", '"', '=', '+', '-', '@', '＝', ';', ',', '\t', '\n', '\r', ' ', 'a', '🪙'),
  maxLength: 30,
});

describe('a text cell of a CSV export', () => {
  it.each(AWKWARD_MEMOS)('reads back exactly: %j', (memo) => {
    expect(decodeCell(encodeCell(memo))).toBe(memo);
  });

  it('reads back exactly, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.oneof(nasty, fc.string({ unit: 'grapheme' })),
        (text) => decodeCell(encodeCell(text)) === text,
      ),
    );
  });

  it('never starts anything that a spreadsheet runs, whatever the text and the separator', () => {
    fc.assert(fc.property(nasty, (text) => !RUNS.test(encodeCell(text))));
  });

  it('tells null from empty text', () => {
    expect(encodeCell(null)).toBe('');
    expect(decodeCell('')).toBeNull();
    expect(decodeCell(encodeCell(''))).toBe('');
  });

  it('leaves ordinary text alone', () => {
    for (const text of ['Top-up of 2026-11-01', 'a = b', 'debit:order-1', 'me@example.org', "it's"]) {
      expect(encodeCell(text)).toBe(text);
    }
  });
});
