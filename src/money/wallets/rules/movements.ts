import type { KeyBudget } from '../../../identity/api-keys/key-budget.js';
import {
  add,
  larger,
  MAX_AMOUNT_MICROS,
  negate,
  smaller,
  subtract,
  ZERO,
  type MicroUsd,
} from '../../../platform/common/money.js';
import { POSTING_RULES } from '../../ledger/chart-of-accounts.js';
import {
  type AdjustCommand,
  type BookCommand,
  type ReverseCreditCommand,
  type CreditCommand,
  type DebitCommand,
  type ExpireLotsCommand,
  type GrantCommand,
  type ReinstateCommand,
  type WriteOffCommand,
  reject,
  type Applied,
  type Outcome,
  type Rejected,
} from './command.js';
import { Draft, linkIdFor, type Movement } from './draft.js';
import { addFreeze } from './freezes.js';
import { atTime, keyActor, reachedLimit, getStart, take } from './key-budget.js';
import {
  isDue,
  takeFrom,
  sumRemaining,
  toBalances,
  computeSpendable,
  type Aggregate,
  type Balances,
  type Lot,
  type RecordedMovement,
} from './wallet.js';
import { sumAmounts, sumWrittenOff, undo } from './reliefs.js';
import { AwayHistory, sourceOf } from './returned-money.js';

type Result = Applied | Rejected;

export function isAmount(amountMicros: MicroUsd): boolean {
  return amountMicros > 0n && amountMicros <= MAX_AMOUNT_MICROS;
}

/** The earlier result of a reference that the ledger has, or a conflict; null when the reference is new. */
function replay(
  aggregate: Aggregate,
  command: { readonly reference: string; readonly fingerprint: string },
  draft: Draft,
): Result | null {
  const recorded = aggregate.recorded.get(command.reference);
  if (recorded === undefined) return null;
  if (recorded.linkId !== linkIdFor(command.reference, command.fingerprint)) {
    return reject({ code: 'reference_conflict' });
  }
  return draft.done(posted(draft, true, recorded));
}

function posted(draft: Draft, replayed: boolean, movement: RecordedMovement): Outcome {
  return { type: 'posted', replayed, movement, balances: toBalances(draft.wallet) };
}

function finish(draft: Draft, movement: Movement): Applied {
  return draft.done(posted(draft, false, draft.recorded(movement)));
}

function toMovement(
  command: { readonly reference: string; readonly fingerprint: string; readonly memo: string | null },
  kind: Movement['kind'],
): Movement {
  const { reference, fingerprint, memo } = command;
  return { kind, reference, linkId: linkIdFor(reference, fingerprint), memo };
}

export function credit(aggregate: Aggregate, command: CreditCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { cause, amountMicros, feeMicros, taxMicros } = command;
  if (!isAmount(amountMicros) || feeMicros < 0n || taxMicros < 0n) return reject({ code: 'invalid_amount' });
  const movement = toMovement(command, cause);
  const bought = { kind: 'paid', source: cause, refundable: true, priority: 0 } as const;
  const lot = { ...bought, id: command.lotId, grantedMicros: amountMicros, expiresAtMs: command.expiresAtMs };
  draft.addLot(lot, 'stripe_clearing', movement);
  postIncomeWith(draft, movement, cause, command);
  return finish(draft, movement);
}

export function reinstate(aggregate: Aggregate, command: ReinstateCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { amountMicros, excessMicros } = command;
  if (!areReturned(command) || excessMicros < 0n) return reject({ code: 'invalid_amount' });
  const movement = toMovement(command, 'reinstatement');
  const { reliefs, returned } = aggregate;
  const taken = larger(ZERO, new AwayHistory(returned).creditOf(sourceOf(command.reference)));
  const backMicros = smaller(amountMicros, taken);
  const undone = undo(reliefs.values(), new AwayHistory(returned, command), backMicros);
  for (const part of undone) draft.undoRelief(part.relief, part.amountMicros, command.memo);
  const given = undone.filter(({ relief }) => relief.kind === 'given_credit');
  // Credit that was never taken was not bought.
  const givenMicros = add(sumAmounts(given), subtract(amountMicros, backMicros));
  const lot = { kind: 'paid', source: 'reinstatement', priority: 0, expiresAtMs: null } as const;
  const parts = [
    // The bought part repays the debt first, so that given credit stays credit that is never refunded to a card.
    { id: command.lotId, refundable: true, grantedMicros: subtract(amountMicros, givenMicros) },
    { id: command.givenLotId, refundable: false, grantedMicros: givenMicros },
  ];
  for (const part of parts) {
    if (part.grantedMicros > 0n) draft.addLot({ ...lot, ...part }, 'stripe_clearing', movement);
  }
  postIncomeWith(draft, movement, 'reinstatement', command);
  const excess = { ...movement, kind: 'reinstatement_excess' } as const;
  draft.postWith(excess, 'stripe_clearing', 'dispute_losses', excessMicros);
  return finish(draft, movement);
}

/** Posts the fee and the tax that came in together with credit. */
function postIncomeWith(
  draft: Draft,
  movement: Movement,
  cause: 'top_up' | 'reinstatement',
  { feeMicros, taxMicros }: { readonly feeMicros: MicroUsd; readonly taxMicros: MicroUsd },
): void {
  const fee = { ...movement, kind: `${cause}_fee` } as const;
  draft.postWith(fee, 'stripe_clearing', 'platform_fee_revenue', feeMicros);
  draft.postWith({ ...movement, kind: `${cause}_tax` }, 'stripe_clearing', 'tax_payable', taxMicros);
}

export function grant(aggregate: Aggregate, command: GrantCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  if (!isAmount(command.amountMicros)) return reject({ code: 'invalid_amount' });
  const { expiresAtMs } = command;
  if (expiresAtMs !== null && expiresAtMs <= nowMs) return reject({ code: 'expiry_not_ahead' });
  const movement = toMovement(command, 'grant');
  draft.addLot(
    {
      id: command.lotId,
      kind: 'promotional',
      source: 'grant',
      refundable: false,
      grantedMicros: command.amountMicros,
      priority: command.priority,
      expiresAtMs: command.expiresAtMs,
    },
    'promotional_credit',
    movement,
  );
  return finish(draft, movement);
}

/** The lots that a new debit may burn. Credit that is due but reserved belongs to the holds that reserved it. */
function findBurnable(draft: Draft): readonly Lot[] {
  return draft.lots.some((lot) => isDue(lot, draft.nowMs))
    ? draft.lots.filter((lot) => !isDue(lot, draft.nowMs))
    : draft.lots;
}

/** The budget of the key at the time of the command, and that time, which is never before the day that the budget counts. */
export function budgetFor(
  { budgets, wallet }: Aggregate,
  keyId: string | null,
  nowMs: number,
): { readonly budget: KeyBudget | null; readonly atMs: number } {
  const budget = keyId === null ? undefined : budgets.get(keyId);
  if (budget === undefined) return { budget: null, atMs: nowMs };
  const atMs = Math.max(nowMs, wallet.headAtMs, getStart(budget));
  return { budget: atTime(budget, atMs), atMs };
}

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
export function refuseSpending(
  draft: Draft,
  amountMicros: MicroUsd,
  budget: KeyBudget | null,
): Rejected | null {
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

/** Whether these can be the parts of money that went back or came back. At least one of them must have moved. */
function areReturned({ amountMicros, feeMicros, taxMicros, excessMicros }: ReturnedParts): boolean {
  const isPossible = amountMicros === 0n || isAmount(amountMicros);
  const hasMoved = amountMicros > 0n || feeMicros > 0n || taxMicros > 0n || excessMicros !== 0n;
  return isPossible && hasMoved && feeMicros >= 0n && taxMicros >= 0n;
}

type ReturnedParts = Pick<ReverseCreditCommand, 'amountMicros' | 'feeMicros' | 'taxMicros' | 'excessMicros'>;

export function reverseCredit(aggregate: Aggregate, command: ReverseCreditCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { cause, amountMicros, feeMicros, taxMicros, excessMicros } = command;
  if (!areReturned(command)) return reject({ code: 'invalid_amount' });
  draft.expireDueLots();
  const taken = takeFrom(findBoughtLots(draft, command.lotId), amountMicros);
  const isCovered = taken.missingMicros === 0n && computeSpendable(draft.wallet) >= amountMicros;
  if (command.freeze === null && !isCovered) {
    const balances = toBalances(draft.wallet);
    return reject({ code: 'insufficient_credits', requiredMicros: amountMicros, balances });
  }
  // With a negative excess the money was taken earlier, and a person may have unfrozen the wallet since.
  const isNewDispute = cause === 'dispute' && excessMicros >= 0n;
  if (command.freeze !== null && (isNewDispute || !isCovered))
    addFreeze(draft, aggregate, command.freeze, command.actor);
  const movement = toMovement(command, cause);
  draft.burn(taken.portions, 'stripe_clearing', movement);
  draft.owe(taken.missingMicros, 'stripe_clearing', movement);
  draft.postWith({ ...movement, kind: `${cause}_fee` }, 'platform_fee_revenue', 'stripe_clearing', feeMicros);
  draft.postWith({ ...movement, kind: `${cause}_tax` }, 'tax_payable', 'stripe_clearing', taxMicros);
  const excess = { ...movement, kind: `${cause}_excess` } as const;
  if (excessMicros > 0n) draft.postWith(excess, 'dispute_losses', 'stripe_clearing', excessMicros);
  // No money moves at the bank: the amount that is now part of the payment is no loss any more.
  const covered = { ...movement, kind: 'reinstatement_excess' } as const;
  if (excessMicros < 0n) draft.postWith(covered, 'stripe_clearing', 'dispute_losses', negate(excessMicros));
  return finish(draft, movement);
}

/** The lot of the returned payment, followed by other bought lots in burn order. Given credit is never taken. */
function findBoughtLots(draft: Draft, ownLotId: string): Lot[] {
  const bought = draft.lots.filter((lot) => lot.refundable);
  return [...bought.filter((lot) => lot.id === ownLotId), ...bought.filter((lot) => lot.id !== ownLotId)];
}

/** A write-off that the ledger has is answered with the earlier result. One that found no debt is not recorded, and may find some later. */
export function writeOff(aggregate: Aggregate, command: WriteOffCommand, nowMs: number): Result {
  const { wallet, recorded, reliefs, returned } = aggregate;
  const { reference, memo } = command;
  const draft = new Draft(wallet, command, nowMs);
  const known = recorded.get(reference);
  if (known !== undefined) return draft.done(posted(draft, true, known));
  const source = sourceOf(reference);
  const takenMicros = new AwayHistory(returned).creditOf(source);
  const leftMicros = subtract(takenMicros, sumWrittenOff(reliefs.values(), source));
  const amountMicros = larger(ZERO, smaller(leftMicros, wallet.debtMicros));
  if (amountMicros === 0n) return draft.done({ type: 'nothing_owed', balances: toBalances(wallet) });
  const movement: Movement = { kind: 'write_off', reference, linkId: linkIdFor(reference, ''), memo };
  draft.forgive(amountMicros, 'dispute_losses', movement);
  return finish(draft, movement);
}

export function adjust(aggregate: Aggregate, command: AdjustCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { amountMicros } = command;
  const magnitude = amountMicros < 0n ? negate(amountMicros) : amountMicros;
  if (!isAmount(magnitude)) return reject({ code: 'invalid_amount' });
  const movement = toMovement(command, 'adjustment');
  if (amountMicros > 0n) {
    const lot = {
      kind: 'paid',
      source: 'adjustment',
      refundable: false,
      priority: 0,
      expiresAtMs: null,
    } as const;
    draft.addLot({ ...lot, id: command.lotId, grantedMicros: amountMicros }, 'goodwill', movement);
    return finish(draft, movement);
  }
  draft.expireDueLots();
  const paid = findBurnable(draft).filter((lot) => lot.kind === 'paid');
  const balances = toBalances(draft.wallet);
  if (balances.availableMicros < magnitude || sumRemaining(paid) < magnitude) {
    return reject({ code: 'insufficient_credits', requiredMicros: magnitude, balances });
  }
  draft.burn(takeFrom(paid, magnitude).portions, 'goodwill', movement);
  return finish(draft, movement);
}

export function book(aggregate: Aggregate, command: BookCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { legs } = command;
  if (legs.length === 0 || !legs.every(({ amountMicros }) => isAmount(amountMicros))) {
    return reject({ code: 'invalid_amount' });
  }
  const [first] = legs.map(({ kind, amountMicros }) => {
    const movement = toMovement(command, kind);
    const [[debit, credit]] = POSTING_RULES[kind];
    draft.postWith(movement, debit, credit, amountMicros);
    return movement;
  });
  return finish(draft, first as Movement);
}

export function expireLots(aggregate: Aggregate, command: ExpireLotsCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const expiredMicros = draft.expireDueLots();
  return draft.done({ type: 'lots_expired', expiredMicros, balances: toBalances(draft.wallet) });
}
