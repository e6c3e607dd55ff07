import type { KeyBudget, SpendLimits } from '../../../identity/api-keys/key-budget.js';
import { ZERO, type MicroUsd, subtract } from '../../../platform/common/money.js';
import {
  withMembers,
  Draft,
  linkIdFor,
  type Result,
  isAmount,
  replay,
  toMovement,
  finish,
  toBalances,
  computeSpendable,
  takeFrom,
  findBurnable,
} from './draft.js';
import {
  type Applied,
  type Outcome,
  type DebitCommand,
  reject,
  type Rejected,
  type AuthorizeCommand,
  type CaptureCommand,
  type ExpireHoldCommand,
  type VoidCommand,
  type SetKeyBudgetCommand,
} from './command.js';
import { canTransition, HOLD_TRANSITIONS, type HoldTransition } from './hold.machine.js';
import { atTime, keyActor, reachedLimit, getStart, take, giveBack } from './key-budget.js';
import type { Hold, Balances, Aggregate } from './wallet.js';

export function debit(aggregate: Aggregate, command: DebitCommand, nowMs: number): Result {
  const { keyId, actor } = command;
  if (keyId !== null && actor !== keyActor(keyId)) throw new Error(`${actor} debits for the key ${keyId}`);
  const { budget, atMs } = budgetFor(aggregate, keyId, nowMs);
  const draft = new Draft(aggregate.wallet, command, atMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { amountMicros } = command;
  if (!isAmount(amountMicros)) return reject({ code: 'invalid_amount' });
  const refusal = refuseSpending(draft, amountMicros, budget);
  if (refusal) return refusal;
  const movement = toMovement(command, 'debit');
  const taken = takeFrom(findBurnable(draft), amountMicros);
  draft.burn(taken.portions, 'usage_revenue', movement);
  draft.owe(taken.missingMicros, 'usage_revenue', movement);
  if (budget) draft.setBudget(take(budget, amountMicros));
  return finish(draft, movement);
}

/**
 * Expires what is due, then returns why `amountMicros` cannot be spent or held; null when it can. The limit of the key is
 * checked first, so that a key that may not spend the amount learns nothing about the wallet.
 */
function refuseSpending(draft: Draft, amountMicros: MicroUsd, budget: KeyBudget | null): Rejected | null {
  draft.expireDueLots();
  const { wallet } = draft;
  const reached = budget && reachedLimit(budget, amountMicros);
  const refused = (): { requiredMicros: MicroUsd; balances: Balances } => ({
    requiredMicros: amountMicros,
    balances: toBalances(wallet),
  });
  if (reached) return reject({ code: 'key_limit_reached', ...reached, ...refused() });
  if (wallet.status === 'frozen') return reject({ code: 'wallet_frozen', ...refused() });
  if (computeSpendable(wallet) < amountMicros) return reject({ code: 'insufficient_credits', ...refused() });
  return null;
}

/** The budget of the key at the time of the command, and that time, which is never before the day that the budget counts. */
function budgetFor(
  { budgets, wallet }: Aggregate,
  keyId: string | null,
  nowMs: number,
): { readonly budget: KeyBudget | null; readonly atMs: number } {
  const budget = keyId === null ? undefined : budgets.get(keyId);
  if (budget === undefined) return { budget: null, atMs: nowMs };
  const atMs = Math.max(nowMs, wallet.headAtMs, getStart(budget));
  return { budget: atTime(budget, atMs), atMs };
}

export function authorize(aggregate: Aggregate, command: AuthorizeCommand, nowMs: number): Result {
  const { budget, atMs } = budgetFor(aggregate, command.keyId, nowMs);
  const draft = new Draft(aggregate.wallet, command, atMs);
  const { reference, fingerprint, keyId, amountMicros, memo, expiresAtMs } = command;
  const earlier = aggregate.holdsByReference.get(reference);
  if (earlier !== undefined) {
    if (earlier.fingerprint !== fingerprint) return reject({ code: 'reference_conflict' });
    return draft.done(holdOutcome(draft, earlier, true));
  }
  if (!isAmount(amountMicros)) return reject({ code: 'invalid_amount' });
  if (hasOtherAttempt(aggregate, command)) return reject({ code: 'other_attempt' });
  const { unlessOwnKeyAt = [] } = command;
  if (unlessOwnKeyAt.some((provider) => aggregate.ownKeyProviders.has(provider))) {
    return reject({ code: 'provider_key_attached' });
  }
  const refusal = refuseSpending(draft, amountMicros, budget);
  if (refusal) return refusal;
  draft.hold(amountMicros);
  if (budget) draft.setBudget(take(budget, amountMicros));
  const hold: Hold = {
    id: command.holdId,
    reference,
    fingerprint,
    keyId,
    attempt: command.attempt?.number ?? null,
    amountMicros,
    capturedMicros: ZERO,
    status: 'authorized',
    memo,
    // In the budget's day, which is where a release gives back to.
    createdAtMs: atMs,
    expiresAtMs,
    resolvedAtMs: null,
  };
  return draft.done(holdOutcome(draft, hold, false), hold);
}

function holdOutcome(draft: Draft, hold: Hold, replayed: boolean): Outcome {
  return { type: 'hold', replayed, hold, balances: toBalances(draft.wallet) };
}

/** The least that OpenAI's SDKs wait before they send a call again. */
export const RETRY_PAUSE_MS = 375;

/** How long before its credit a call of a client that does not number its attempts has looked for earlier ones, at most. */
export const LOOKED_BEFORE_MS = 5_000;

/**
 * Whether credit is set aside already for this call, by another attempt at it. A retry gives way to every earlier
 * attempt's hold that it does not know to be of another call. An attempt gives way to its own retry, which is one
 * that came long enough after it: its client has given it up, whether or not its connection shows that. Where attempts have
 * no numbers, any hold for the same request counts that is open, or was captured since this one looked for earlier calls.
 */
function hasOtherAttempt(
  { holdsById }: Aggregate,
  { attempt, keyId, fingerprint }: AuthorizeCommand,
): boolean {
  if (attempt == null || keyId === null) return false;
  const { number, beganAtMs, otherCallsHoldIds } = attempt;
  return [...holdsById.values()].some((hold) => {
    if (hold.keyId !== keyId || hold.fingerprint !== fingerprint || otherCallsHoldIds.includes(hold.id))
      return false;
    if (number === null) return isTakenSince(hold, beganAtMs - LOOKED_BEFORE_MS);
    if (hold.status !== 'authorized' || hold.attempt === null) return false;
    return hold.attempt < number || (hold.attempt > number && hold.createdAtMs >= beganAtMs + RETRY_PAUSE_MS);
  });
}

function isTakenSince({ status, resolvedAtMs }: Hold, sinceMs: number): boolean {
  return status === 'authorized' || (status === 'captured' && (resolvedAtMs ?? 0) >= sinceMs);
}

/**
 * Posts what was delivered. It never fails for want of credit: the hold reserved it. Only a dispute that
 * took the reserved lots away leaves a shortfall, and that becomes debt, for the images were delivered.
 */
export function capture(aggregate: Aggregate, command: CaptureCommand, nowMs: number): Result {
  const hold = aggregate.holdsById.get(command.holdId);
  if (hold === undefined) return reject({ code: 'hold_not_found' });
  const { amountMicros } = command;
  if (!isAmount(amountMicros)) return reject({ code: 'invalid_amount' });
  if (amountMicros > hold.amountMicros) {
    return reject({ code: 'amount_exceeds_hold', holdMicros: hold.amountMicros });
  }
  const draft = new Draft(aggregate.wallet, command, nowMs);
  return resolve(aggregate, draft, hold, 'capture', amountMicros, () => {
    const reference = `capture:${hold.id}`;
    const linkId = linkIdFor(reference, amountMicros.toString());
    const movement = { kind: 'capture', reference, linkId, memo: command.memo ?? hold.memo } as const;
    const taken = takeFrom(draft.lots, amountMicros);
    draft.burn(taken.portions, 'usage_revenue', movement);
    draft.owe(taken.missingMicros, 'usage_revenue', movement);
  });
}

export function voidHold(aggregate: Aggregate, command: VoidCommand, nowMs: number): Result {
  const hold = aggregate.holdsById.get(command.holdId);
  if (hold === undefined) return reject({ code: 'hold_not_found' });
  return resolve(aggregate, new Draft(aggregate.wallet, command, nowMs), hold, 'void', ZERO);
}

export function expireHold(aggregate: Aggregate, command: ExpireHoldCommand, nowMs: number): Result {
  const hold = aggregate.holdsById.get(command.holdId);
  if (hold === undefined) return reject({ code: 'hold_not_found' });
  const draft = new Draft(aggregate.wallet, command, nowMs);
  if (hold.status === 'authorized' && hold.expiresAtMs > nowMs) {
    return draft.done({ type: 'hold_not_due', hold, balances: toBalances(draft.wallet) });
  }
  return resolve(aggregate, draft, hold, 'expireHold', ZERO);
}

/** The hold's one terminal transition; a second one is a named outcome. */
function resolve(
  aggregate: Aggregate,
  draft: Draft,
  hold: Hold,
  transition: HoldTransition,
  capturedMicros: MicroUsd,
  beforeDone: () => void = () => undefined,
): Applied {
  const status = HOLD_TRANSITIONS[transition].to;
  if (!canTransition(hold.status, transition)) {
    const same = hold.status === status && hold.capturedMicros === capturedMicros;
    return draft.done(
      same
        ? holdOutcome(draft, hold, true)
        : { type: 'already_resolved', hold, balances: toBalances(draft.wallet) },
    );
  }
  draft.release(hold.amountMicros);
  const budget = hold.keyId === null ? undefined : aggregate.budgets.get(hold.keyId);
  const unusedMicros = subtract(hold.amountMicros, capturedMicros);
  if (budget && unusedMicros > 0n) draft.setBudget(giveBack(budget, unusedMicros, hold.createdAtMs));
  beforeDone();
  const resolvedAtMs = Math.max(draft.nowMs, hold.createdAtMs);
  const resolved: Hold = withMembers(hold, { status, capturedMicros, resolvedAtMs });
  return draft.done(holdOutcome(draft, resolved, false), resolved);
}

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
