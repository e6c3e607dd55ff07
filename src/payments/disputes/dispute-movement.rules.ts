import { cents, microsToCentsExact, type UsdCents } from '../../platform/common/money.js';
import type { ProviderDispute, ProviderDisputeMovement } from '../stripe/payment-gateway.js';
import {
  addParts,
  computeCharge,
  negateParts,
  partsOfGivenBack,
  partsOfTaken,
  type Parts,
  type PartsAndExcess,
} from '../../money/wallets/rules/payment-parts.js';
import type { DisputeMovement } from './dispute-movement.entity.js';

/** Sums what a dispute holds of its payment, and beyond it. A negative excess is money that Stripe gave back and never took. */
export function heldBy(movements: readonly DisputeMovement[]): PartsAndExcess {
  const sum = (amountFrom: (movement: DisputeMovement) => bigint): UsdCents =>
    cents(movements.reduce((total, movement) => total - microsToCents(amountFrom(movement)), 0n));
  return {
    creditCents: sum(({ creditMicros }) => creditMicros),
    feeCents: sum(({ feeMicros }) => feeMicros),
    taxCents: sum(({ taxMicros }) => taxMicros),
    excessCents: sum(({ excessMicros }) => excessMicros),
  };
}

function microsToCents(amount: bigint): bigint {
  return microsToCentsExact(amount as Parameters<typeof microsToCentsExact>[0]);
}

/**
 * Splits what Stripe took (negative) or gave back into parts, given what the dispute holds already (`held`) and all that has left the
 * payment (`returned`, which includes what the dispute holds). What is given back comes out of the excess first. So in the end a dispute
 * holds what it would hold if Stripe had taken that amount at once.
 */
export function partsOfMoved(
  direction: ProviderDisputeMovement['direction'],
  amountCents: UsdCents,
  held: PartsAndExcess,
  gone: { readonly paid: Parts; readonly returned: Parts },
): PartsAndExcess {
  if (direction === 'taken') {
    // What was given back beyond all that was taken belongs to no customer, so it goes first.
    const surplus = smaller(amountCents, larger(0n, 0n - held.excessCents));
    const taken = partsOfTaken(cents(amountCents - surplus), gone.paid, gone.returned);
    return negateParts({ ...taken, excessCents: cents(taken.excessCents + surplus) });
  }
  const beyond = smaller(amountCents, larger(0n, held.excessCents));
  const back = partsOfGivenBack(cents(smaller(amountCents - beyond, computeCharge(held))), held);
  return { ...back, excessCents: cents(amountCents - computeCharge(back)) };
}

/**
 * Computes which part of a dispute's excess is covered now, because a refund failed or another dispute was won: that loss becomes the parts
 * of the payment that came back. Returns null when nothing is covered.
 */
export function partsOfCovered(held: PartsAndExcess, paid: Parts, returned: Parts): PartsAndExcess | null {
  if (held.excessCents <= 0n) return null;
  const parts = partsOfTaken(held.excessCents, paid, returned);
  const covered = computeCharge(parts);
  return covered === 0n
    ? null
    : { ...negateParts({ ...parts, excessCents: cents(0n) }), excessCents: covered };
}

/** Does the same for all disputes of a payment, one after the other. */
export function partsOfAllCovered(
  held: readonly PartsAndExcess[],
  paid: Parts,
  returned: Parts,
): readonly (PartsAndExcess | null)[] {
  let gone = returned;
  return held.map((each) => {
    const parts = partsOfCovered(each, paid, gone);
    if (parts !== null) gone = goneAfter(gone, parts);
    return parts;
  });
}

/** The parts that have left the payment after this movement. */
export function goneAfter(returned: Parts, moved: Parts): Parts {
  return addParts(returned, negateParts({ ...moved, excessCents: cents(0n) }));
}

/** Whether the bank has the money now, by Stripe's last movement. */
export function isWithBank({ movements }: Pick<ProviderDispute, 'movements'>): boolean {
  return movements.at(-1)?.direction === 'taken';
}

/** Whether Stripe took money after it had given some back. */
export function isTakenAgain(reported: Pick<ProviderDispute, 'movements'>): boolean {
  return isWithBank(reported) && reported.movements.some(({ direction }) => direction === 'given_back');
}

const TAKEN = ':withdrawn';
const GIVEN_BACK = ':reinstated';

/** The first movement of each direction has the reference from before there could be several. The others are named by Stripe's id. */
export function referenceFor(
  disputeId: string,
  { id, direction }: ProviderDisputeMovement,
  earlier: readonly DisputeMovement[],
): string {
  const first = `dispute:${disputeId}${direction === 'taken' ? TAKEN : GIVEN_BACK}`;
  return earlier.some(({ reference }) => reference === first) ? `${first}:${id}` : first;
}

export function coveredReference(disputeId: string, number: number): string {
  return `dispute:${disputeId}:covered:${number}`;
}

export function isFirstOfItsKind({ reference }: DisputeMovement): boolean {
  return reference.endsWith(TAKEN) || reference.endsWith(GIVEN_BACK);
}

export function isTaking({ amountCents }: DisputeMovement): boolean {
  return amountCents <= 0n;
}

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
