import type { DataSource } from 'typeorm';
import { Snapshot } from '../../ledger/snapshot.js';
import type { Discrepancy, ProofCounts, Report } from '../../wallets/proof/discrepancy.js';
import { proveChains } from '../../wallets/proof/prove-chains.js';
import { proveRows } from '../../wallets/proof/prove-rows.js';

/** No statement of the doctor should take as long; one that does is waiting for something broken. */
const STATEMENT_SECONDS_MAX = 3_600;
/** A batch of rows is hashed in milliseconds; a doctor that pauses longer than this was suspended. */
const IDLE_SECONDS_MAX = 600;

export const DOCTOR_SNAPSHOT = {
  statementSecondsMax: STATEMENT_SECONDS_MAX,
  idleSecondsMax: IDLE_SECONDS_MAX,
} as const;

/**
 * Re-derives every wallet, hold, lot and chain from the rows, as of one moment, and reports each row that
 * does not agree. Reads only; a running service is neither stopped nor slowed by locks.
 */
export async function examineBooks(snapshot: Snapshot, report: Report): Promise<ProofCounts> {
  const counts: ProofCounts = { accounts: 0, transfers: 0, wallets: 0, lots: 0, holds: 0 };
  await proveChains(snapshot, report, counts);
  await proveRows(snapshot, report, counts);
  return counts;
}

/** Everything that is wrong with the books, at once; for tests and small databases. */
export async function findDiscrepancies(dataSource: DataSource): Promise<Discrepancy[]> {
  const found: Discrepancy[] = [];
  const snapshot = await Snapshot.ofPool(dataSource, DOCTOR_SNAPSHOT);
  try {
    await examineBooks(snapshot, (discrepancy) => found.push(discrepancy));
  } finally {
    await snapshot.close();
  }
  return found;
}
