import { cents, microsToCentsExact, type UsdCents } from '../../platform/common/money.js';
import type { ProviderDispute, ProviderDisputeMovement } from '../stripe/payment-gateway.js';
import {
  addParts,
  chargeOf,
  negateParts,
  partsOfGivenBack,
  partsOfTaken,
  type Parts,
  type PartsAndExcess,
} from '../../money/wallets/rules/payment-parts.js';
import type { DisputeMovement } from './dispute-movement.entity.js';

/** What a dispute has of its payment, and what beyond it. Below zero, the excess is what Stripe gave back and never took. */
export function heldBy(movements: readonly DisputeMovement[]): PartsAndExcess {
  const sum = (amountOf: (movement: DisputeMovement) => bigint): UsdCents =>
    cents(movements.reduce((total, movement) => total - microsToCents(amountOf(movement)), 0n));
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
 * The parts of what Stripe took (below zero) or gave back, next to what the dispute has already (`held`) and to all that is gone of
 * the payment (`returned`, with what the dispute has). What is given back was taken beyond the payment first; so a dispute has, in
 * the end, what it would have if Stripe had taken at once what it has.
 */
export function partsOfMoved(
  direction: ProviderDisputeMovement['direction'],
  amountCents: UsdCents,
  held: PartsAndExcess,
  gone: { readonly paid: Parts; readonly returned: Parts },
): PartsAndExcess {
  if (direction === 'taken') {
    // What was given back beyond all that was taken is nobody's credit: it goes first.
    const surplus = smaller(amountCents, larger(0n, 0n - held.excessCents));
    const taken = partsOfTaken(cents(amountCents - surplus), gone.paid, gone.returned);
    return negateParts({ ...taken, excessCents: cents(taken.excessCents + surplus) });
  }
  const beyond = smaller(amountCents, larger(0n, held.excessCents));
  const back = partsOfGivenBack(cents(smaller(amountCents - beyond, chargeOf(held))), held);
  return { ...back, excessCents: cents(amountCents - chargeOf(back)) };
}

/**
 * What a dispute took beyond its payment and what is not beyond it any more, because a refund failed or another dispute was won:
 * the loss becomes the parts of the payment that came back. Null when there is nothing of that.
 */
export function partsOfCovered(held: PartsAndExcess, paid: Parts, returned: Parts): PartsAndExcess | null {
  if (held.excessCents <= 0n) return null;
  const parts = partsOfTaken(held.excessCents, paid, returned);
  const covered = chargeOf(parts);
  return covered === 0n
    ? null
    : { ...negateParts({ ...parts, excessCents: cents(0n) }), excessCents: covered };
}

/** The same of all disputes of a payment, one after the other. */
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

/** The payment's parts that are gone once this movement has moved some of them. */
export function goneAfter(returned: Parts, moved: Parts): Parts {
  return addParts(returned, negateParts({ ...moved, excessCents: cents(0n) }));
}

/** Whether the money is at the bank now, as far as Stripe's last movement says. */
export function isWithBank({ movements }: Pick<ProviderDispute, 'movements'>): boolean {
  return movements.at(-1)?.direction === 'taken';
}

/** Whether Stripe took money after it had given some back. */
export function isTakenAgain(told: Pick<ProviderDispute, 'movements'>): boolean {
  return isWithBank(told) && told.movements.some(({ direction }) => direction === 'given_back');
}

const TAKEN = ':withdrawn';
const GIVEN_BACK = ':reinstated';

/** The first movement each way has the reference that it had when there was no other; every other one is named by Stripe's id. */
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
