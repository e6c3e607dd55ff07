import { describe, expect, it } from '@jest/globals';
import { decodeCell, encodeCell } from '../../src/platform/common/csv-cell.js';
import { AWKWARD_MEMOS } from '../support/database/test-books.js';

describe('a text cell of a CSV export', () => {
  it.each(AWKWARD_MEMOS)('reads back exactly: %j', (memo) => {
    expect(decodeCell(encodeCell(memo))).toBe(memo);
  });

  it('distinguishes null from empty text', () => {
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
