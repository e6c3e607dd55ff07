import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { expectBooksToBalance } from '../fixtures/books.js';
import type { TestBooks } from '../support/database/test-books.js';
import { seededRandom } from '../support/seeded-random.js';
import { verdictOf } from '../support/wallet/export-files.js';
import { independentVerdicts } from '../support/wallet/independent-verifier.js';
import { allPostings, postingFile } from '../support/wallet/posting-files.js';
import {
  genuineExports,
  judgeTampers,
  misjudged,
  playGenuineBooks,
} from '../support/wallet/verifier-agreement.js';

/** In parts, for books of their own: texts, lots and times are others each time. */
const PARTS = 4;
const TAMPERS_A_PART = 500;

const random = seededRandom('two verifiers of exports, long');

describe.each(Array.from({ length: PARTS }, (_, part) => part + 1))('genuine books, part %i', (_part) => {
  let books: TestBooks;

  beforeAll(async () => {
    books = await playGenuineBooks(random);
  });
  afterAll(async () => {
    await expectBooksToBalance(books.dataSource);
    await books.close();
  });

  it(`are judged alike by two verifiers, whatever is done to their exports: ${TAMPERS_A_PART} tampers`, async () => {
    const judged = await judgeTampers(await genuineExports(books), random, TAMPERS_A_PART);
    expect(misjudged(judged)).toEqual([]);
    expect(judged.length).toBe(TAMPERS_A_PART);
  });
});

describe('every kind of transfer between every two ledger accounts', () => {
  it('is accepted by both verifiers where a posting rule allows it, and refused by both everywhere else', async () => {
    const postings = allPostings();
    const files = postings.map(postingFile);
    const independent = await independentVerdicts(files);
    const wrong: unknown[] = [];
    for (const [index, posting] of postings.entries()) {
      const coffer = (await verdictOf(files[index] as Buffer)).ok;
      const other = independent[index]?.line === null;
      if (coffer !== posting.allowed || other !== posting.allowed) wrong.push({ ...posting, coffer, other });
    }
    expect(wrong).toEqual([]);
  });
});
