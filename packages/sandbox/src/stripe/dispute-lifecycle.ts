import { newBalanceTransaction } from './balance-transactions.js';
import { putCharge } from './charges.js';
import { nowSeconds, type Cause, type SandboxContext } from './context.js';
import { NO_EVIDENCE } from './dispute-evidence.js';
import { DISPUTE_HISTORIES, DISPUTE_STEPS, isInquiry } from './dispute.machine.js';
import { refreshWarnings } from './early-fraud-warnings.js';
import { emitEvent } from './events.js';
import { stripeId } from './ids.js';
import type { Dispute, DisputeStatus } from './money-out-objects.js';
import type { Charge } from './objects.js';
import { failRefund } from './refund-settlement.js';

/** The fee that Stripe keeps for a dispute in the US, for any outcome. */
export const DISPUTE_FEE_CENTS = 1_500;
const SECONDS_PER_DAY = 24 * 60 * 60;
const DAYS_TO_RESPOND = 8;

/** Stripe's reasons for cards, and Visa's code for each. */
export const DISPUTE_REASONS: Readonly<Record<string, string>> = {
  credit_not_processed: '13.6',
  duplicate: '12.6',
  fraudulent: '10.4',
  general: '13.3',
  noncompliant: '13.3',
  product_not_received: '13.1',
  product_unacceptable: '13.3',
  subscription_canceled: '13.2',
  unrecognized: '10.4',
};
const INQUIRY_REASON_CODE = '10';

export type NewDispute = {
  readonly status: DisputeStatus;
  readonly reason: string;
  /** By default, the part of the charge that was not refunded yet. */
  readonly amountCents?: number;
  /** For a prevented dispute: whether the network took the money (`resolution`) or not (`block`, the default). */
  readonly caseType?: 'block' | 'resolution';
};

/** The cardholder's bank disputes a charge; with every event on the way to `status`. */
export function openDispute(
  context: SandboxContext,
  charge: Charge,
  wanted: NewDispute,
  cause: Cause,
): Dispute {
  const [first, ...later] = DISPUTE_HISTORIES[wanted.status];
  const isWithdrawn = first === 'needs_response' || wanted.caseType === 'resolution';
  const unpaidBack = charge.amount - charge.amount_refunded;
  const opened: Dispute = {
    ...newDispute(context, charge, wanted, first),
    amount: wanted.amountCents ?? (unpaidBack > 0 ? unpaidBack : charge.amount),
    is_charge_refundable: !isWithdrawn,
  };
  const dispute = isWithdrawn ? withdraw(context, opened) : opened;
  context.store.disputes.put(dispute);
  const disputed = putCharge(context, charge, { disputed: true });
  emitEvent(context, 'charge.dispute.created', dispute, cause);
  if (isWithdrawn) emitEvent(context, 'charge.dispute.funds_withdrawn', dispute, cause);
  refreshWarnings(context, disputed, cause);
  return later.reduce((current, status) => moveDispute(context, current, status, cause), dispute);
}

function newDispute(
  context: SandboxContext,
  charge: Charge,
  { reason, caseType }: NewDispute,
  status: DisputeStatus,
): Dispute {
  const created = nowSeconds(context);
  const opened =
    status === 'prevented' ? (caseType ?? 'block') : isInquiry(status) ? 'inquiry' : 'chargeback';
  return {
    id: stripeId('du'),
    object: 'dispute',
    amount: charge.amount,
    balance_transactions: [],
    charge: charge.id,
    created,
    currency: charge.currency,
    enhanced_eligibility_types: [],
    evidence: NO_EVIDENCE,
    evidence_details: {
      // The last second of a day, as at Stripe.
      due_by: (Math.floor(created / SECONDS_PER_DAY) + DAYS_TO_RESPOND + 1) * SECONDS_PER_DAY - 1,
      enhanced_eligibility: {},
      has_evidence: false,
      past_due: false,
      submission_count: 0,
      submission_method: 'not_submitted',
    },
    intended_submission_method: null,
    is_charge_refundable: false,
    livemode: false,
    metadata: {},
    payment_intent: charge.payment_intent,
    payment_method_details: { card: caseOf(charge, reason, opened), type: 'card' },
    reason,
    status,
  };
}

function caseOf(charge: Charge, reason: string, caseType: string): Readonly<Record<string, unknown>> {
  const card = charge.payment_method_details['card'] as { readonly brand: string };
  return {
    brand: card.brand,
    case_type: caseType,
    network: card.brand,
    network_reason_code: caseType === 'inquiry' ? INQUIRY_REASON_CODE : (DISPUTE_REASONS[reason] ?? null),
  };
}

export class ImpossibleStepError extends Error {
  constructor(id: string, from: string, to: string) {
    super(`${id} is ${from} and cannot become ${to}`);
    this.name = 'ImpossibleStepError';
  }
}

/** One step of `dispute.machine.ts`, with the money it moves and the events it sends. */
export function moveDispute(
  context: SandboxContext,
  dispute: Dispute,
  status: DisputeStatus,
  cause: Cause,
): Dispute {
  if (!DISPUTE_STEPS[dispute.status].includes(status)) {
    throw new ImpossibleStepError(dispute.id, dispute.status, status);
  }
  context.store.plannedOutcomes.delete(dispute.id);
  switch (status) {
    case 'needs_response':
      return escalate(context, dispute, cause);
    case 'won': {
      const won = putDispute(context, reinstate(context, dispute), { status, is_charge_refundable: true });
      emitEvent(context, 'charge.dispute.funds_reinstated', won, cause);
      return close(context, won, dispute.status, cause);
    }
    case 'lost':
    case 'warning_closed':
      return close(context, putDispute(context, dispute, { status }), dispute.status, cause);
    default:
      return announce(context, putDispute(context, dispute, { status }), { status: dispute.status }, cause);
  }
}

/** An inquiry becomes a chargeback: the money is withdrawn, and refunds that were made since are reversed. */
function escalate(context: SandboxContext, inquiry: Dispute, cause: Cause): Dispute {
  const charge = context.store.charges.get(inquiry.charge);
  if (charge === undefined) throw new Error(`the sandbox lost the charge of ${inquiry.id}`);
  const escalated = putDispute(context, withdraw(context, inquiry), {
    is_charge_refundable: false,
    payment_method_details: { card: caseOf(charge, inquiry.reason, 'chargeback'), type: 'card' },
    status: 'needs_response',
  });
  announce(context, escalated, { status: inquiry.status }, cause);
  emitEvent(context, 'charge.dispute.funds_withdrawn', escalated, cause);
  for (const refund of context.store.refunds.oldestFirst()) {
    if (refund.charge !== charge.id || refund.status === 'failed' || refund.created < inquiry.created)
      continue;
    failRefund(context, refund, 'charge_for_pending_refund_disputed', cause);
  }
  return escalated;
}

export function putDispute(context: SandboxContext, dispute: Dispute, changes: Partial<Dispute>): Dispute {
  const changed = { ...dispute, ...changes };
  context.store.disputes.put(changed);
  return changed;
}

/** Emits the events that a dispute has changed, and with it its charge. */
export function announce(
  context: SandboxContext,
  dispute: Dispute,
  previously: Readonly<Record<string, unknown>>,
  cause: Cause,
): Dispute {
  emitEvent(context, 'charge.dispute.updated', dispute, cause, previously);
  emitChargeUpdated(context, dispute, cause);
  return dispute;
}

/** Stripe withdraws more of a dispute's money, withdraws it again, or returns some: any amount at any time, in any status. */
export function moveDisputeMoney(
  context: SandboxContext,
  dispute: Dispute,
  amountCents: number,
  cause: Cause,
): Dispute {
  const isTaken = amountCents < 0;
  const movement = newBalanceTransaction(context, {
    type: 'adjustment',
    reportingCategory: isTaken ? 'dispute' : 'dispute_reversal',
    amountCents,
    source: dispute.id,
    description: `Chargeback ${isTaken ? 'withdrawal' : 'reversal'} for ${dispute.charge}`,
  });
  const moved = putDispute(context, dispute, {
    balance_transactions: [...dispute.balance_transactions, movement],
  });
  emitEvent(context, `charge.dispute.funds_${isTaken ? 'withdrawn' : 'reinstated'}`, moved, cause);
  return moved;
}

function close(context: SandboxContext, dispute: Dispute, previousStatus: string, cause: Cause): Dispute {
  emitEvent(context, 'charge.dispute.closed', dispute, cause, { status: previousStatus });
  emitChargeUpdated(context, dispute, cause);
  return dispute;
}

function emitChargeUpdated(context: SandboxContext, dispute: Dispute, cause: Cause): void {
  const charge = context.store.charges.get(dispute.charge);
  if (charge !== undefined) emitEvent(context, 'charge.updated', charge, cause);
}

function withdraw(context: SandboxContext, dispute: Dispute): Dispute {
  const withdrawal = newBalanceTransaction(context, {
    type: 'adjustment',
    reportingCategory: 'dispute',
    amountCents: -dispute.amount,
    fee: { cents: DISPUTE_FEE_CENTS, description: 'Dispute fee' },
    source: dispute.id,
    description: `Chargeback withdrawal for ${dispute.charge}`,
  });
  return { ...dispute, balance_transactions: [...dispute.balance_transactions, withdrawal] };
}

/** What was taken comes back, in whatever currency the dispute is stated; the fee does not. */
function reinstate(context: SandboxContext, dispute: Dispute): Dispute {
  const taken = dispute.balance_transactions.find(({ amount }) => amount < 0);
  const reversal = newBalanceTransaction(context, {
    type: 'adjustment',
    reportingCategory: 'dispute_reversal',
    amountCents: taken === undefined ? dispute.amount : -taken.amount,
    source: dispute.id,
    description: `Chargeback reversal for ${dispute.charge}`,
  });
  return { ...dispute, balance_transactions: [...dispute.balance_transactions, reversal] };
}
