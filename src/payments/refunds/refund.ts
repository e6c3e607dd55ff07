import { newId } from '../../platform/common/ids.js';
import { cents, centsToMicros, type MicroUsd, type UsdCents } from '../../platform/common/money.js';
import type { TopUp } from '../top-ups/top-up.js';
import type { RefundStatus } from './refund.machine.js';
import { chargeOf, type Parts } from '../../money/wallets/rules/payment-parts.js';

/** Paid credit that goes back to where the money came from, with its share of the fee. */
export type Refund = {
  readonly id: string;
  readonly accountId: string;
  readonly topUpId: string;
  readonly status: RefundStatus;
  readonly creditMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly taxMicros: MicroUsd;
  /** What went back beyond what was left of the payment: in Stripe's dashboard only. */
  readonly excessMicros: MicroUsd;
  /** What the customer gets: credit, fee, tax, and what goes beyond them. */
  readonly amountCents: UsdCents;
  readonly paymentIntentId: string;
  /** The top-up's own lot, from which the credit is taken first. */
  readonly lotId: string;
  /** The lot that the credit would be if it came back, chosen now: however often it fails, it is this one. */
  readonly returnLotId: string;
  readonly reason: string | null;
  /** Stripe's name for it, once there is one. */
  readonly stripeRefundId: string | null;
  readonly failureCode: string | null;
  readonly idempotencyKey: string | null;
  readonly fingerprint: string;
  readonly createdBy: string;
  readonly createdAt: Date;
  /** When it last moved, or was last compared with Stripe. */
  readonly checkedAt: Date;
  /** When its failure was decided; it orders the bookings of the payment. Null of what did not fail, or failed in an earlier release. */
  readonly failureDecidedAt: Date | null;
};

export type RefundPreview = {
  /** All that can be refunded now: no more than is left of the payment, and unspent in the wallet. */
  readonly refundableCents: UsdCents;
  /** What would go back for what was asked. */
  readonly parts: Parts;
  /** What of the payment's credit was not refunded after that. */
  readonly creditLeftCents: UsdCents;
};

/** Who asked for a refund, and how it is told apart from others. */
export type RefundOrigin = Pick<
  Refund,
  'paymentIntentId' | 'reason' | 'stripeRefundId' | 'idempotencyKey' | 'fingerprint' | 'createdBy'
>;

/** Made in Stripe's dashboard: its money went before anybody here knew. */
export function isMadeAtStripe({ createdBy }: Pick<Refund, 'createdBy'>): boolean {
  return createdBy === 'stripe';
}

/** A refund of these parts of a top-up, before anything moved. */
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
    amountCents: cents(chargeOf(parts) + excessCents),
    lotId: topUp.lotId,
    returnLotId: newId('creditLot'),
    failureCode: null,
    createdAt: now,
    checkedAt: now,
    failureDecidedAt: null,
  };
}

/**
 * By which the ledger recognizes a repeated booking. Without tax and excess it is what earlier releases wrote, so that what they began is
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
