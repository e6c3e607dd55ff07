import { cents, divHalfUp, type UsdCents } from '../../../platform/common/money.js';

/** What a payment was made of, or what of it went back. All together is what moves at Stripe. */
export type Parts = {
  readonly creditCents: UsdCents;
  readonly feeCents: UsdCents;
  readonly taxCents: UsdCents;
};

/**
 * What goes back with `creditCents` of credit: the same share of the platform fee, and of the tax. Each share is taken
 * of all that went back so far and rounded half up there, so that no order of partial refunds gains or loses a
 * cent, and the last one returns exactly what is left.
 *
 * Null when there is not so much left to return.
 */
export function partsFor(creditCents: UsdCents, paid: Parts, returned: Parts): Parts | null {
  const creditTotal = returned.creditCents + creditCents;
  if (creditCents <= 0n || creditTotal > paid.creditCents) return null;
  const computeShare = (part: UsdCents): bigint => divHalfUp(part * creditTotal, paid.creditCents);
  return {
    creditCents,
    feeCents: noLessThanZero(computeShare(paid.feeCents) - returned.feeCents),
    taxCents: noLessThanZero(computeShare(paid.taxCents) - returned.taxCents),
  };
}

/**
 * The same for a refund that was made in Stripe's dashboard, and for a dispute, where only the whole amount is known.
 * At least a cent of it is credit. Null when more came back than was paid, or nothing but fee and tax is left.
 */
export function partsOfAmount(amountCents: UsdCents, paid: Parts, returned: Parts): Parts | null {
  const amountTotal = computeCharge(returned) + amountCents;
  const creditLeft = paid.creditCents - returned.creditCents;
  if (amountCents <= 0n || amountTotal > computeCharge(paid) || creditLeft === 0n) return null;
  const computeShare = (part: UsdCents): bigint => divHalfUp(part * amountTotal, computeCharge(paid));
  // No part gives more than is left of it, whatever went before.
  const feeLeft = paid.feeCents - returned.feeCents;
  const taxLeft = paid.taxCents - returned.taxCents;
  const credit = between(
    computeShare(paid.creditCents) - returned.creditCents,
    larger(1n, amountCents - feeLeft - taxLeft),
    smaller(amountCents, creditLeft),
  );
  const rest = amountCents - credit;
  const fee = between(
    computeShare(paid.feeCents) - returned.feeCents,
    larger(0n, rest - taxLeft),
    smaller(rest, feeLeft),
  );
  return { creditCents: cents(credit), feeCents: cents(fee), taxCents: cents(rest - fee) };
}

/** Parts of a payment, and what moved beyond them. */
export type PartsAndExcess = Parts & { readonly excessCents: UsdCents };

/**
 * The same where the money is gone whatever is left: a bank takes a payment back that was refunded before. What goes beyond
 * what is left of the payment, or of its credit, is excess.
 */
export function partsOfTaken(amountCents: UsdCents, paid: Parts, returned: Parts): PartsAndExcess {
  const leftCents = cents(computeCharge(paid) - computeCharge(returned));
  const withinCents = cents(smaller(amountCents, leftCents));
  const parts = partsOfAmount(withinCents, paid, returned) ?? NOTHING;
  return { ...parts, excessCents: cents(amountCents - computeCharge(parts)) };
}

/**
 * What comes back with `amountCents` of what was taken: of each part its share, rounded so that nothing is lost and the last cent
 * brings exactly what is left. At most all that was taken.
 */
export function partsOfGivenBack(amountCents: UsdCents, taken: Parts): Parts {
  const total = computeCharge(taken);
  const left = total - amountCents;
  if (total === 0n || left < 0n) return NOTHING;
  const computeShare = (part: UsdCents): bigint => divHalfUp(part * left, total);
  const fee = computeShare(taken.feeCents);
  const tax = between(
    computeShare(taken.taxCents),
    larger(0n, left - fee - taken.creditCents),
    smaller(left - fee, taken.taxCents),
  );
  return {
    creditCents: cents(taken.creditCents - (left - fee - tax)),
    feeCents: cents(taken.feeCents - fee),
    taxCents: cents(taken.taxCents - tax),
  };
}

export const NOTHING: Parts = { creditCents: cents(0n), feeCents: cents(0n), taxCents: cents(0n) };

const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b);
const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b);
const between = (value: bigint, least: bigint, most: bigint): bigint => smaller(larger(value, least), most);

/** What the customer paid, or gets, altogether. */
export function computeCharge({ creditCents, feeCents, taxCents }: Parts): UsdCents {
  return cents(creditCents + feeCents + taxCents);
}

/** Refunds that failed leave the sum a cent off what a fresh start would give; the next one makes it good. */
function noLessThanZero(amount: bigint): UsdCents {
  return cents(amount < 0n ? 0n : amount);
}

export function addParts(a: Parts, b: Parts): Parts {
  return {
    creditCents: cents(a.creditCents + b.creditCents),
    feeCents: cents(a.feeCents + b.feeCents),
    taxCents: cents(a.taxCents + b.taxCents),
  };
}

/** The same the other way. */
export function negateParts({
  creditCents,
  feeCents,
  taxCents,
  excessCents,
}: PartsAndExcess): PartsAndExcess {
  return {
    creditCents: cents(0n - creditCents),
    feeCents: cents(0n - feeCents),
    taxCents: cents(0n - taxCents),
    excessCents: cents(0n - excessCents),
  };
}
