import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { findDiscrepancies } from '../../src/finance/doctor/examine-books.js';
import { expectBooksToBalance } from '../support/invariants.js';
import { TestBooks } from '../support/test-books.js';

describe('doctor', () => {
  let books: TestBooks;
  let accountId: string;

  beforeAll(async () => {
    books = await TestBooks.open();
    accountId = await books.playEverything();
    await books.playEverything();
  });
  afterAll(() => books.close());

  it('finds nothing wrong with books that only the engine wrote', async () => {
    await expectBooksToBalance(books.dataSource);
  });
});
