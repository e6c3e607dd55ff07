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
  type ClawBackCommand,
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
import { atTime, keyActor, reachedLimit, startOf, take } from './key-budget.js';
import {
  isDue,
  takeFrom,
  totalRemaining,
  balancesOf,
  spendable,
  type Aggregate,
  type Balances,
  type Lot,
  type RecordedMovement,
} from './wallet.js';
import { standingFor, sumOf, undo } from './reliefs.js';
import { AwayHistory, sourceOf } from './returned-money.js';

type Result = Applied | Rejected;

export function isAmount(amountMicros: MicroUsd): boolean {
  return amountMicros > 0n && amountMicros <= MAX_AMOUNT_MICROS;
}

/** A reference that the ledger knows answers again, or conflicts; null means it is new. */
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
  return { type: 'posted', replayed, movement, balances: balancesOf(draft.wallet) };
}

function finish(draft: Draft, movement: Movement): Applied {
  return draft.done(posted(draft, false, draft.recorded(movement)));
}

function movementOf(
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
  const movement = movementOf(command, cause);
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
  const movement = movementOf(command, 'reinstatement');
  const { reliefs, returned } = aggregate;
  const taken = larger(ZERO, new AwayHistory(returned).creditOf(sourceOf(command.reference)));
  const backMicros = smaller(amountMicros, taken);
  const undone = undo(reliefs.values(), new AwayHistory(returned, command), backMicros);
  for (const part of undone) draft.undoRelief(part.relief, part.amountMicros, command.memo);
  const given = undone.filter(({ relief }) => relief.kind === 'given_credit');
  // What was never taken nobody bought.
  const givenMicros = add(sumOf(given), subtract(amountMicros, backMicros));
  const lot = { kind: 'paid', source: 'reinstatement', priority: 0, expiresAtMs: null } as const;
  const parts = [
    // What was bought repays the debt first, so that given credit stays what it was: credit that goes to no card.
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

/** The fee and the tax that came in beside credit. */
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
  const movement = movementOf(command, 'grant');
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

/** Lots that a new debit may burn: what is due but reserved belongs to the holds that reserved it. */
function burnable(draft: Draft): readonly Lot[] {
  return draft.lots.some((lot) => isDue(lot, draft.nowMs))
    ? draft.lots.filter((lot) => !isDue(lot, draft.nowMs))
    : draft.lots;
}

/** The key's budget as of now, and the time of the command, which is never before the day that the budget counts. */
export function budgetFor(
  { budgets, wallet }: Aggregate,
  keyId: string | null,
  nowMs: number,
): { readonly budget: KeyBudget | null; readonly atMs: number } {
  const budget = keyId === null ? undefined : budgets.get(keyId);
  if (budget === undefined) return { budget: null, atMs: nowMs };
  const atMs = Math.max(nowMs, wallet.headAtMs, startOf(budget));
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
  const movement = movementOf(command, 'debit');
  const taken = takeFrom(burnable(draft), amountMicros);
  draft.burn(taken.portions, 'usage_revenue', movement);
  draft.owe(taken.missingMicros, 'usage_revenue', movement);
  if (budget) draft.setBudget(take(budget, amountMicros));
  return finish(draft, movement);
}

/**
 * Expires what is due, then says why `amountMicros` cannot be spent or held; null means it can. The key's limit
 * is the first to answer: what a key may not spend tells nothing of the wallet.
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
    balances: balancesOf(wallet),
  });
  if (reached) return reject({ code: 'key_limit_reached', ...reached, ...refused() });
  if (wallet.status === 'frozen') return reject({ code: 'wallet_frozen', ...refused() });
  if (spendable(wallet) < amountMicros) return reject({ code: 'insufficient_credits', ...refused() });
  return null;
}

/** Whether these may be the parts of money that went back or came back: something of it moved. */
function areReturned({ amountMicros, feeMicros, taxMicros, excessMicros }: ReturnedParts): boolean {
  const isPossible = amountMicros === 0n || isAmount(amountMicros);
  const hasMoved = amountMicros > 0n || feeMicros > 0n || taxMicros > 0n || excessMicros !== 0n;
  return isPossible && hasMoved && feeMicros >= 0n && taxMicros >= 0n;
}

type ReturnedParts = Pick<ClawBackCommand, 'amountMicros' | 'feeMicros' | 'taxMicros' | 'excessMicros'>;

export function clawBack(aggregate: Aggregate, command: ClawBackCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { cause, amountMicros, feeMicros, taxMicros, excessMicros } = command;
  if (!areReturned(command)) return reject({ code: 'invalid_amount' });
  draft.expireDueLots();
  const taken = takeFrom(boughtLotsFirst(draft, command.lotId), amountMicros);
  const isCovered = taken.missingMicros === 0n && spendable(draft.wallet) >= amountMicros;
  if (command.freeze === null && !isCovered) {
    const balances = balancesOf(draft.wallet);
    return reject({ code: 'insufficient_credits', requiredMicros: amountMicros, balances });
  }
  // What only ceases to be beyond the payment was taken long ago, and a person may have unfrozen the wallet since.
  const isNewDispute = cause === 'dispute' && excessMicros >= 0n;
  if (command.freeze !== null && (isNewDispute || !isCovered))
    addFreeze(draft, aggregate, command.freeze, command.actor);
  const movement = movementOf(command, cause);
  draft.burn(taken.portions, 'stripe_clearing', movement);
  draft.owe(taken.missingMicros, 'stripe_clearing', movement);
  draft.postWith({ ...movement, kind: `${cause}_fee` }, 'platform_fee_revenue', 'stripe_clearing', feeMicros);
  draft.postWith({ ...movement, kind: `${cause}_tax` }, 'tax_payable', 'stripe_clearing', taxMicros);
  const excess = { ...movement, kind: `${cause}_excess` } as const;
  if (excessMicros > 0n) draft.postWith(excess, 'dispute_losses', 'stripe_clearing', excessMicros);
  // The money itself stays where it is, at the bank: what goes as parts of the payment is no loss any more.
  const covered = { ...movement, kind: 'reinstatement_excess' } as const;
  if (excessMicros < 0n) draft.postWith(covered, 'stripe_clearing', 'dispute_losses', negate(excessMicros));
  return finish(draft, movement);
}

/** The returned payment's own lot, then other bought ones in burn order; credit that was given never. */
function boughtLotsFirst(draft: Draft, ownLotId: string): Lot[] {
  const bought = draft.lots.filter((lot) => lot.refundable);
  return [...bought.filter((lot) => lot.id === ownLotId), ...bought.filter((lot) => lot.id !== ownLotId)];
}

/** A write-off that the ledger has answers again, and one that found nothing owed may find something later. */
export function writeOff(aggregate: Aggregate, command: WriteOffCommand, nowMs: number): Result {
  const { wallet, recorded, reliefs, returned } = aggregate;
  const { reference, memo } = command;
  const draft = new Draft(wallet, command, nowMs);
  const known = recorded.get(reference);
  if (known !== undefined) return draft.done(posted(draft, true, known));
  const source = sourceOf(reference);
  const takenMicros = new AwayHistory(returned).creditOf(source);
  const leftMicros = subtract(takenMicros, standingFor(reliefs.values(), source));
  const amountMicros = larger(ZERO, smaller(leftMicros, wallet.debtMicros));
  if (amountMicros === 0n) return draft.done({ type: 'nothing_owed', balances: balancesOf(wallet) });
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
  const movement = movementOf(command, 'adjustment');
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
  const paid = burnable(draft).filter((lot) => lot.kind === 'paid');
  const balances = balancesOf(draft.wallet);
  if (balances.availableMicros < magnitude || totalRemaining(paid) < magnitude) {
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
    const movement = movementOf(command, kind);
    const [[debit, credit]] = POSTING_RULES[kind];
    draft.postWith(movement, debit, credit, amountMicros);
    return movement;
  });
  return finish(draft, first as Movement);
}

export function expireLots(aggregate: Aggregate, command: ExpireLotsCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const expiredMicros = draft.expireDueLots();
  return draft.done({ type: 'lots_expired', expiredMicros, balances: balancesOf(draft.wallet) });
}
