import type { SpendLimits } from '../../../identity/api-keys/key-budget.js';
import { type SetKeyBudgetCommand, reject, type Applied, type Rejected } from './command.js';
import { Draft } from './draft.js';
import { budgetFor, isAmount } from './movements.js';
import { toBalances, type Aggregate } from './wallet.js';

/** It runs under the lock that every spend of the key needs too, so what the key has used is exact, whatever calls are running. */
export function setKeyBudget(
  aggregate: Aggregate,
  command: SetKeyBudgetCommand,
  nowMs: number,
): Applied | Rejected {
  const { day, month, total } = command.limits;
  const isAllowed = [day, month, total].every((limit) => limit == null || isAmount(limit));
  if (!isAllowed) return reject({ code: 'invalid_amount' });
  const { budget } = budgetFor(aggregate, command.keyId, nowMs);
  if (budget === null) throw new Error(`the use of the key ${command.keyId} was not counted`);
  const limits: SpendLimits = { ...budget.limits, ...command.limits };
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const limited = { ...budget, limits };
  draft.setBudget(limited);
  return draft.done({ type: 'key_budget', budget: limited, balances: toBalances(draft.wallet) });
}
