import { describe, it } from '@jest/globals';
import fc from 'fast-check';
import { decodeCell, encodeCell } from '../../src/platform/common/csv-cell.js';
import { checkProperty } from '../support/property.js';

/** What a spreadsheet would run, whatever it takes for the separator between cells: comma, semicolon or tab. */
const RUNS = /(^|[;\t\r\n])["\s]*[=+\-@＝＋－＠]/u;

const nasty = fc.string({
  unit: fc.constantFrom("'", '"', '=', '+', '-', '@', '＝', ';', ',', '\t', '\n', '\r', ' ', 'a', '🪙'),
  maxLength: 30,
});

describe('a text cell of a CSV export', () => {
  it('reads back exactly, whatever the text', async () => {
    await checkProperty(
      'a cell reads back exactly',
      fc.property(
        fc.oneof(nasty, fc.string({ unit: 'grapheme' })),
        (text) => decodeCell(encodeCell(text)) === text,
      ),
      { runs: 100 },
    );
  });

  it('never starts anything that a spreadsheet runs, whatever the text and the separator', async () => {
    await checkProperty(
      'no cell is a formula',
      fc.property(nasty, (text) => !RUNS.test(encodeCell(text))),
      { runs: 100 },
    );
  });
});
