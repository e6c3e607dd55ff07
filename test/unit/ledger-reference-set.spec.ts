import { describe, expect, it } from '@jest/globals';
import { ReferenceSet } from '../../src/money/ledger/reference-set.js';

describe('the set of references', () => {
  it('knows every reference again after any number of others', () => {
    const set = new ReferenceSet();
    const references = Array.from({ length: 20_000 }, (_, index) => `debit:${index}`);
    expect(references.filter((reference) => !set.add(reference))).toEqual([]);
    expect(references.filter((reference) => set.add(reference))).toEqual([]);
  });
});
