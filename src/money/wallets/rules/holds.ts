import { subtract, ZERO, type MicroUsd } from '../../../platform/common/money.js';
import { withMembers } from '../../../platform/common/with-members.js';
import {
  type AuthorizeCommand,
  type CaptureCommand,
  type ExpireHoldCommand,
  type VoidCommand,
  reject,
  type Applied,
  type Outcome,
  type Rejected,
} from './command.js';
import { Draft, linkIdFor } from './draft.js';
import { canTransition, HOLD_TRANSITIONS, type HoldTransition } from './hold.machine.js';
import { giveBack, take } from './key-budget.js';
import { takeFrom, toBalances, type Aggregate, type Hold } from './wallet.js';
import { budgetFor, isAmount, refuseSpending } from './movements.js';

type Result = Applied | Rejected;

function holdOutcome(draft: Draft, hold: Hold, replayed: boolean): Outcome {
  return { type: 'hold', replayed, hold, balances: toBalances(draft.wallet) };
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

/** The least that OpenAI's SDKs wait before they send a call again. */
export const RETRY_PAUSE_MS = 375;

/** How long before its credit a call of a client that does not number its attempts has looked for earlier ones, at most. */
export const LOOKED_BEFORE_MS = 5_000;

function isTakenSince({ status, resolvedAtMs }: Hold, sinceMs: number): boolean {
  return status === 'authorized' || (status === 'captured' && (resolvedAtMs ?? 0) >= sinceMs);
}

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
