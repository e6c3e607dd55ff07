import type { SpendLimits } from '../../../identity/api-keys/key-budget.js';
import { type SetKeyBudgetCommand, reject, type Applied, type Rejected } from './command.js';
import { Draft } from './draft.js';
import { budgetFor, isAmount } from './movements.js';
import { balancesOf, type Aggregate } from './wallet.js';

/** Under the lock that every spend of the key needs too: what it has used is exact, whatever is under way. */
export function setKeyBudget(
  aggregate: Aggregate,
  command: SetKeyBudgetCommand,
  nowMs: number,
): Applied | Rejected {
  const { day, month, total } = command.limits;
  const isAllowed = [day, month, total].every((limit) => limit == null || isAmount(limit));
  if (!isAllowed) return reject({ code: 'invalid_amount' });
  const { budget } = budgetFor(aggregate, command.keyId, nowMs);
  if (budget === null) throw new Error(`nobody counted what the key ${command.keyId} has used`);
  const limits: SpendLimits = { ...budget.limits, ...command.limits };
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const limited = { ...budget, limits };
  draft.setBudget(limited);
  return draft.done({ type: 'key_budget', budget: limited, balances: balancesOf(draft.wallet) });
}
