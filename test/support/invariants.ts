import { expect } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { findDiscrepancies } from '../../src/finance/doctor/examine-books.js';

/**
 * Ends a test that moved money: re-derives every wallet, hold, lot and hash chain from the rows, as
 * `coffer doctor` does, and fails with the exact rows that do not agree. Commands may still be running.
 */
export async function expectBooksToBalance(dataSource: DataSource): Promise<void> {
  expect(await findDiscrepancies(dataSource)).toEqual([]);
}
