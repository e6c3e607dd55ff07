import { newId } from '../../platform/common/ids.js';
import { cents, centsToMicros, type MicroUsd, type UsdCents } from '../../platform/common/money.js';
import type { TopUp } from '../top-ups/top-up.js';
import type { RefundStatus } from './refund.machine.js';
import { computeCharge, type Parts } from '../../money/wallets/rules/payment-parts.js';

/** Bought credit that is refunded to where the money came from, with its share of the fee. */
export type Refund = {
  readonly id: string;
  readonly accountId: string;
  readonly topUpId: string;
  readonly status: RefundStatus;
  readonly creditMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly taxMicros: MicroUsd;
  /** What was refunded beyond what was left of the payment. That happens only in Stripe's dashboard. */
  readonly excessMicros: MicroUsd;
  /** What the customer gets: credit, fee, tax, and what goes beyond them. */
  readonly amountCents: UsdCents;
  readonly paymentIntentId: string;
  /** The top-up's own lot, from which the credit is taken first. */
  readonly lotId: string;
  /** The lot that the credit becomes if it comes back. It is chosen at the start, so that a repeated failure names the same lot. */
  readonly returnLotId: string;
  readonly reason: string | null;
  /** Stripe's id of the refund; null until Stripe has accepted it. */
  readonly stripeRefundId: string | null;
  readonly failureCode: string | null;
  readonly idempotencyKey: string | null;
  readonly fingerprint: string;
  readonly createdBy: string;
  readonly createdAt: Date;
  /** When the status last changed, or was last compared with Stripe. */
  readonly checkedAt: Date;
  /** When its failure was decided, which orders the bookings of the payment. Null when it did not fail, or failed in an earlier release. */
  readonly failureDecidedAt: Date | null;
  /**
   * How much was decided of the account's disputes and failing refunds, and was booked, when it was requested. Null when it was made at
   * Stripe, or requested in an earlier release.
   */
  readonly decisionsBefore: number | null;
  /** When it was decided that Stripe is asked for it; null until then, and when it was made at Stripe. */
  readonly submittedAt: Date | null;
};

export type RefundPreview = {
  /** The most that can be refunded now: what is left of the payment, and is unspent in the wallet. */
  readonly refundableCents: UsdCents;
  /** The parts that the requested refund would have. */
  readonly parts: Parts;
  /** How much of the payment's credit would not be refunded after that. */
  readonly creditLeftCents: UsdCents;
};

/** Who requested a refund, and what distinguishes it from others. */
export type RefundOrigin = Pick<
  Refund,
  'paymentIntentId' | 'reason' | 'stripeRefundId' | 'idempotencyKey' | 'fingerprint' | 'createdBy'
>;

/** Whether it was created in Stripe's dashboard: then its money was gone before this service knew of it. */
export function isMadeAtStripe({ createdBy }: Pick<Refund, 'createdBy'>): boolean {
  return createdBy === 'stripe';
}

/** Returns a new refund of these parts of a top-up. Nothing has moved yet. */
export function newRefund(
  topUp: TopUp,
  parts: Parts,
  origin: RefundOrigin,
  now: Date,
  excessCents: UsdCents = cents(0n),
): Refund {
  return {
    ...origin,
    id: newId('refund'),
    accountId: topUp.accountId,
    topUpId: topUp.id,
    status: 'created',
    creditMicros: centsToMicros(parts.creditCents),
    feeMicros: centsToMicros(parts.feeCents),
    taxMicros: centsToMicros(parts.taxCents),
    excessMicros: centsToMicros(excessCents),
    amountCents: cents(computeCharge(parts) + excessCents),
    lotId: topUp.lotId,
    returnLotId: newId('creditLot'),
    failureCode: null,
    createdAt: now,
    checkedAt: now,
    failureDecidedAt: null,
    decisionsBefore: null,
    submittedAt: null,
  };
}

/**
 * Returns the fingerprint by which the ledger recognizes a repeated booking. Without tax and excess it is what earlier releases wrote, so that what they began is
 * the same request.
 */
export function toBookingFingerprint({
  topUpId,
  creditMicros,
  feeMicros,
  taxMicros,
  excessMicros,
}: Refund): string {
  const excess = excessMicros === 0n ? '' : `:beyond:${excessMicros}`;
  return `${topUpId}:${creditMicros}:${feeMicros}${taxMicros === 0n ? '' : `:${taxMicros}`}${excess}`;
}
