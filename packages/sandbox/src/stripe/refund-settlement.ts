import { newBalanceTransaction } from './balance-transactions.js';
import { putCharge } from './charges.js';
import { nowSeconds, type Cause, type SandboxContext } from './context.js';
import { refreshWarnings } from './early-fraud-warnings.js';
import { emitEvent } from './events.js';
import { stripeId } from './ids.js';
import type { Refund } from './money-out-objects.js';
import type { Charge, Metadata } from './objects.js';
import { cardFor } from './payment-methods.js';
import { planOutcome } from './planned-outcomes.js';

/** Why a refund can fail, in Stripe's words. */
export const REFUND_FAILURE_REASONS: readonly string[] = [
  'charge_for_pending_refund_disputed',
  'declined',
  'expired_or_canceled_card',
  'insufficient_funds',
  'lost_or_stolen_card',
  'merchant_request',
  'unknown',
];

export type NewRefund = {
  readonly amountCents: number;
  readonly reason: string | null;
  readonly metadata: Metadata;
};

/**
 * Takes the money off the Stripe balance and gives it back to the card. The caller has checked that so much
 * is left. The card decides whether the refund is settled at once, later, or comes back later.
 */
export function createRefund(
  context: SandboxContext,
  charge: Charge,
  { amountCents, reason, metadata }: NewRefund,
  cause: Cause,
): Refund {
  const id = stripeId('re');
  const behaviour = refundBehaviour(context, charge);
  const isPending = behaviour === 'succeeds_later';
  const balanceTransaction = newBalanceTransaction(context, {
    type: 'refund',
    reportingCategory: 'refund',
    amountCents: -amountCents,
    source: id,
    description: descriptionOf('REFUND FOR CHARGE', charge),
  });
  const refund: Refund = {
    id,
    object: 'refund',
    amount: amountCents,
    balance_transaction: balanceTransaction.id,
    charge: charge.id,
    created: nowSeconds(context),
    currency: charge.currency,
    customer: charge.customer,
    customer_account: null,
    destination_details: {
      card: { reference_status: 'pending', reference_type: 'acquirer_reference_number', type: 'refund' },
      type: 'card',
    },
    metadata,
    payment_intent: charge.payment_intent,
    payment_method: charge.payment_method,
    ...(isPending ? { pending_reason: 'processing' as const } : {}),
    reason,
    receipt_number: null,
    source_transfer_reversal: null,
    status: isPending ? 'pending' : 'succeeded',
    transfer_reversal: null,
  };
  context.store.refunds.put(refund);
  const fraudDetails = reason === 'fraudulent' ? { user_report: 'fraudulent' } : charge.fraud_details;
  const refunded = countRefunded(context, charge, amountCents, { fraud_details: fraudDetails });
  emitEvent(context, 'refund.created', refund, cause);
  const previously = { amount_refunded: charge.amount_refunded, refunded: charge.refunded };
  emitEvent(context, 'charge.refunded', refunded, cause, previously);
  refreshWarnings(context, refunded, cause);
  if (behaviour !== 'now') planOutcome(context, id, isPending ? 'succeeded' : 'failed');
  return refund;
}

function refundBehaviour(context: SandboxContext, charge: Charge): 'fails_later' | 'now' | 'succeeds_later' {
  const method = context.store.paymentMethods.get(charge.payment_method);
  return method === undefined ? 'now' : (cardFor(method).refund ?? 'now');
}

function countRefunded(
  context: SandboxContext,
  charge: Charge,
  amountCents: number,
  changes: Partial<Charge> = {},
): Charge {
  const refundedCents = charge.amount_refunded + amountCents;
  const refunded = refundedCents >= charge.amount;
  return putCharge(context, charge, { ...changes, amount_refunded: refundedCents, refunded });
}

function descriptionOf(what: string, charge: Charge): string {
  return charge.description === null ? what : `${what} (${charge.description})`;
}

/** A pending refund reaches the card. */
export function succeedRefund(context: SandboxContext, refund: Refund, cause: Cause): Refund {
  const { pending_reason: pendingReason, ...rest } = refund;
  const succeeded: Refund = { ...rest, status: 'succeeded' };
  context.store.refunds.put(succeeded);
  const previously = { pending_reason: pendingReason, status: refund.status };
  emitEvent(context, 'refund.updated', succeeded, cause, previously);
  return succeeded;
}

/** The bank sends the money back, days after the refund may have said `succeeded`: it is on the Stripe balance again. */
export function failRefund(context: SandboxContext, refund: Refund, reason: string, cause: Cause): Refund {
  const charge = context.store.charges.get(refund.charge);
  if (charge === undefined) throw new Error(`the sandbox lost the charge of ${refund.id}`);
  const balanceTransaction = newBalanceTransaction(context, {
    type: 'refund_failure',
    reportingCategory: 'refund_failure',
    amountCents: refund.amount,
    source: refund.id,
    description: descriptionOf('REFUND FAILURE', charge),
  });
  const { pending_reason: pendingReason, ...rest } = refund;
  const failed: Refund = {
    ...rest,
    failure_balance_transaction: balanceTransaction.id,
    failure_reason: reason,
    status: 'failed',
  };
  context.store.refunds.put(failed);
  context.store.plannedOutcomes.delete(refund.id);
  const counted = countRefunded(context, charge, -refund.amount);
  const previously = {
    ...(pendingReason === undefined ? {} : { pending_reason: pendingReason }),
    status: refund.status,
  };
  emitEvent(context, 'refund.updated', failed, cause, previously);
  emitEvent(context, 'refund.failed', failed, cause, previously);
  refreshWarnings(context, counted, cause);
  return failed;
}
