import type { DataSource } from 'typeorm';
import { Snapshot } from '../../platform/database/snapshot.js';
import type { Discrepancy, ProofCounts, Report } from './proof/discrepancy.js';
import { proveChains } from './proof/prove-chains.js';
import { proveRows } from './proof/prove-rows.js';
import { proveAuditLog } from './prove-audit-log.js';
import { proveKeyBudgets } from './prove-key-budgets.js';
import { provePlatformBook } from './prove-platform-book.js';
import { proveReceipts, type ReceiptCheck } from './prove-receipts.js';
import { proveUpstreamCosts } from './prove-upstream-costs.js';
import { proveUsage } from './prove-usage.js';

/** For snapshots that read whole tables: no statement of ours takes an hour, and no pause ten minutes. */
export const DOCTOR_SNAPSHOT = { statementSecondsMax: 3_600, idleSecondsMax: 600 } as const;

/**
 * Derives every wallet, hold, lot, chain and receipt again from the rows, as of one moment, and reports each
 * row that does not agree. Reads only; it takes no lock that a charge could wait for.
 */
export async function examineBooks(
  snapshot: Snapshot,
  report: Report,
  except: readonly ReceiptCheck[] = [],
): Promise<ProofCounts> {
  const counts: ProofCounts = { accounts: 0, transfers: 0, wallets: 0, lots: 0, holds: 0 };
  await proveChains(snapshot, report, counts);
  await proveRows(snapshot, report, counts);
  await proveKeyBudgets(snapshot, report);
  await proveReceipts(snapshot, report, except);
  await provePlatformBook(snapshot, report);
  await proveUpstreamCosts(snapshot, report);
  await proveUsage(snapshot, report);
  await proveAuditLog(snapshot, report);
  return counts;
}

/** Everything that is wrong with the books, at once; for tests and small databases. */
export async function findDiscrepancies(
  dataSource: DataSource,
  except: readonly ReceiptCheck[] = [],
): Promise<Discrepancy[]> {
  const found: Discrepancy[] = [];
  const snapshot = await Snapshot.ofPool(dataSource, DOCTOR_SNAPSHOT);
  try {
    await examineBooks(snapshot, (discrepancy) => found.push(discrepancy), except);
  } finally {
    await snapshot.close();
  }
  return found;
}
