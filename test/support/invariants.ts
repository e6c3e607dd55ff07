import { expect } from '@jest/globals';
import type { DataSource } from 'typeorm';
import { findDiscrepancies } from '../../src/finance/doctor/examine-books.js';

/**
 * Ends a test that moved money: derives every wallet, hold, lot, hash chain and receipt again from the rows, as
 * `coffer doctor` does, and fails with the exact rows that do not agree. Commands may still be running.
 *
 * Unlike the doctor it lets a credit or a refund pass that nobody asked for: many tests move money by the engine alone.
 */
export async function expectBooksToBalance(dataSource: DataSource): Promise<void> {
  expect(await findDiscrepancies(dataSource, ['unasked credits', 'unasked refunds'])).toEqual([]);
}
