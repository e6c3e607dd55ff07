import { nowSeconds, type SandboxContext } from './context.js';
import type { BalanceTransaction } from './objects.js';

/** As it is now: a stored transaction becomes available by the passing of time alone. */
export function currentBalanceTransaction(
  context: SandboxContext,
  transaction: BalanceTransaction,
): BalanceTransaction {
  const stored = context.store.balanceTransactions.get(transaction.id) ?? transaction;
  return { ...stored, status: stored.available_on <= nowSeconds(context) ? 'available' : 'pending' };
}
