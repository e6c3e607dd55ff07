import {
  micros,
  ZERO,
  type MicroUsd,
  add,
  larger,
  negate,
  smaller,
  subtract,
} from '../../../platform/common/money.js';
import { type ReverseCreditCommand, type ReinstateCommand, type WriteOffCommand, reject } from './command.js';
import { postIncomeWith } from './credits.js';
import {
  type Movement,
  Draft,
  linkIdFor,
  type Result,
  isAmount,
  replay,
  toMovement,
  finish,
  posted,
  toBalances,
  computeSpendable,
  takeFrom,
} from './draft.js';
import { addFreeze } from './freezes.js';
import { AwayHistory, toSource } from './returned-money.js';
import type { Lot, Relief, Aggregate } from './wallet.js';

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

export function reinstate(aggregate: Aggregate, command: ReinstateCommand, nowMs: number): Result {
  const draft = new Draft(aggregate.wallet, command, nowMs);
  const again = replay(aggregate, command, draft);
  if (again) return again;
  const { amountMicros, excessMicros } = command;
  if (!areReturned(command) || excessMicros < 0n) return reject({ code: 'invalid_amount' });
  const movement = toMovement(command, 'reinstatement');
  const { reliefs, returned } = aggregate;
  const taken = larger(ZERO, new AwayHistory(returned).getCredit(toSource(command.reference)));
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

/** A write-off that the ledger has is answered with the earlier result. One that found no debt is not recorded, and may find some later. */
export function writeOff(aggregate: Aggregate, command: WriteOffCommand, nowMs: number): Result {
  const { wallet, recorded, reliefs, returned } = aggregate;
  const { reference, memo } = command;
  const draft = new Draft(wallet, command, nowMs);
  const known = recorded.get(reference);
  if (known !== undefined) return draft.done(posted(draft, true, known));
  const source = toSource(reference);
  const takenMicros = new AwayHistory(returned).getCredit(source);
  const leftMicros = subtract(takenMicros, sumWrittenOff(reliefs.values(), source));
  const amountMicros = larger(ZERO, smaller(leftMicros, wallet.debtMicros));
  if (amountMicros === 0n) return draft.done({ type: 'nothing_owed', balances: toBalances(wallet) });
  const movement: Movement = { kind: 'write_off', reference, linkId: linkIdFor(reference, ''), memo };
  draft.forgive(amountMicros, 'dispute_losses', movement);
  return finish(draft, movement);
}

/** Whether these can be the parts of money that went back or came back. At least one of them must have moved. */
function areReturned({ amountMicros, feeMicros, taxMicros, excessMicros }: ReturnedParts): boolean {
  const isPossible = amountMicros === 0n || isAmount(amountMicros);
  const hasMoved = amountMicros > 0n || feeMicros > 0n || taxMicros > 0n || excessMicros !== 0n;
  return isPossible && hasMoved && feeMicros >= 0n && taxMicros >= 0n;
}

type ReturnedParts = Pick<ReverseCreditCommand, 'amountMicros' | 'feeMicros' | 'taxMicros' | 'excessMicros'>;

/** A part of a relief that is undone. A write-off is then owed again, and given credit becomes given credit again. */
type Undone = { readonly relief: Relief; readonly amountMicros: MicroUsd };

/**
 * Undoes the reliefs that would not have been needed if the money that comes back had never been away, as far as they are not undone
 * yet. The oldest is undone first, and at most as much as comes back, so that no customer owes more than before. Once more money has come
 * back, an earlier relief may turn out to be unneeded instead of one that was undone before. For the wallet that is the same, so
 * the amounts of each kind are counted together.
 *
 * @param reliefs all reliefs of the wallet.
 * @param backMicros the credit that comes back.
 */
export function undo(
  reliefs: Iterable<Relief>,
  history: AwayHistory,
  backMicros: MicroUsd,
): readonly Undone[] {
  const unneeded = findUnneeded([...reliefs], history);
  const missing = { write_off: 0n, given_credit: 0n };
  for (const { relief, amountMicros } of unneeded) missing[relief.kind] += amountMicros - relief.undoneMicros;
  let left: bigint = backMicros;
  return unneeded.flatMap(({ relief, amountMicros }) => {
    const most = between(0n, missing[relief.kind], left);
    const part = between(0n, amountMicros - relief.undoneMicros, most);
    if (part === 0n) return [];
    left -= part;
    missing[relief.kind] -= part;
    const undoneMicros = micros(relief.undoneMicros + part);
    return [{ relief: { ...relief, undoneMicros }, amountMicros: micros(part) }];
  });
}

/**
 * Returns how much of each relief would not have been needed. It is the relief's amount minus the debt that it would have found: the
 * debt at its place in the chain, without what was away then and would not have been, and with what earlier reliefs would not have
 * paid and was not undone by then. No write-off needs more than what its own refund or dispute has taken permanently, because
 * without that there would have been no write-off.
 */
function findUnneeded(
  reliefs: readonly Relief[],
  history: AwayHistory,
): readonly { readonly relief: Relief; readonly amountMicros: bigint }[] {
  let earlier = 0n;
  let givenMicros = 0n;
  const neededBySource = new Map<string, bigint>();
  return [...reliefs]
    .sort((a, b) => a.seq - b.seq)
    .map((relief) => {
      const { seq, kind, reference, amountMicros, stillOwedMicros } = relief;
      // An earlier release gave back credit that is not refundable where no credit had been given.
      const undoneMicros =
        history.undoneAt('write_off', seq) + between(0n, history.undoneAt('given_credit', seq), givenMicros);
      const owed = amountMicros + stillOwedMicros - history.surplusAt(seq) + earlier - undoneMicros;
      let needed = between(0n, owed, amountMicros);
      if (kind === 'write_off') {
        const source = toSource(reference);
        const before = neededBySource.get(source) ?? 0n;
        const most = history.lastingAt(source, seq);
        if (most !== null) needed = between(0n, most - before, needed);
        neededBySource.set(source, before + needed);
      }
      if (kind === 'given_credit') givenMicros += amountMicros;
      earlier += amountMicros - needed;
      return { relief, amountMicros: amountMicros - needed };
    });
}

/** Returns `value`, but at least `least` and at most `most`; when these contradict each other, `most`. */
function between(least: bigint, value: bigint, most: bigint): bigint {
  const larger = value < least ? least : value;
  return larger > most ? most : larger;
}

/** Sums what is written off for a refund or a dispute and was not undone. */
function sumWrittenOff(reliefs: Iterable<Relief>, source: string): MicroUsd {
  const own = [...reliefs].filter(
    ({ kind, reference }) => kind === 'write_off' && toSource(reference) === source,
  );
  return micros(own.reduce((sum, relief) => sum + subtract(relief.amountMicros, relief.undoneMicros), 0n));
}

function sumAmounts(parts: readonly { readonly amountMicros: MicroUsd }[]): MicroUsd {
  return micros(parts.reduce((sum, { amountMicros }) => sum + amountMicros, 0n as bigint));
}
