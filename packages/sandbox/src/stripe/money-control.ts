import { formatCents } from '../money.js';
import { CAUSED_BY_NO_REQUEST, type SandboxContext } from './context.js';
import { ControlRefusedError, UnknownObjectError } from './control-errors.js';
import {
  DISPUTE_REASONS,
  ImpossibleStepError,
  moveDispute,
  moveDisputeMoney,
  openDispute,
} from './dispute-lifecycle.js';
import { FRAUD_TYPES, warnOfFraud } from './early-fraud-warnings.js';
import { DISPUTE_STATUSES, type Dispute, type EarlyFraudWarning } from './money-out-objects.js';
import type { DisputeStatus, Payout, Refund } from './money-out-objects.js';
import type { Charge, PaymentMethod } from './objects.js';
import { putPaymentMethod } from './payment-methods.js';
import { failPayout, NothingToPayOutError, payOut } from './payouts.js';
import { failRefund, REFUND_FAILURE_REASONS, succeedRefund } from './refund-settlement.js';
import { testCard } from './test-cards.js';

export type DisputeRequest = {
  /** A charge (`ch_…`) or a PaymentIntent (`pi_…`), whose latest charge it then is. */
  readonly charge: string;
  /** By default, the part that was not refunded yet. At most the charge. */
  readonly amountCents?: number;
  /** `fraudulent` by default. */
  readonly reason?: string;
  /** `needs_response` by default; all steps up to this status send their events. */
  readonly status?: string;
  /** With status `prevented` only: `resolution` takes the money, `block` (the default) does not. */
  readonly caseType?: string;
};

/**
 * What banks and cardholders do to collected money, on demand. Nothing is awaited here: the caller commits.
 * Throws `UnknownObjectError`, and `ControlRefusedError` for what cannot happen.
 */
export class MoneyControl {
  constructor(private readonly context: SandboxContext) {}

  dispute(request: DisputeRequest): Dispute {
    const charge = this.charge(request.charge);
    const { amountCents, reason = 'fraudulent', caseType } = request;
    const status = oneOf(DISPUTE_STATUSES, request.status ?? 'needs_response', 'status');
    oneOf(Object.keys(DISPUTE_REASONS), reason, 'reason');
    if (amountCents !== undefined && (amountCents < 1 || amountCents > charge.amount)) {
      const whole = formatCents(charge.amount);
      throw new ControlRefusedError(`the amount must be from 1 cent to the charge's ${whole}`);
    }
    if (charge.status !== 'succeeded') throw new ControlRefusedError(`${charge.id} took no money`);
    const wanted = {
      status,
      reason,
      ...(amountCents === undefined ? {} : { amountCents }),
      ...(caseType === undefined
        ? {}
        : { caseType: oneOf(['block', 'resolution'] as const, caseType, 'case_type') }),
    };
    return openDispute(this.context, charge, wanted, CAUSED_BY_NO_REQUEST);
  }

  /** The bank, or time, takes a dispute one step on. */
  moveDispute(id: string, status: string): Dispute {
    const dispute = this.context.store.disputes.get(id);
    if (dispute === undefined) throw new UnknownObjectError(id);
    const wanted: DisputeStatus = oneOf(DISPUTE_STATUSES, status, 'status');
    try {
      return moveDispute(this.context, dispute, wanted, CAUSED_BY_NO_REQUEST);
    } catch (error) {
      if (error instanceof ImpossibleStepError) throw new ControlRefusedError(error.message);
      throw error;
    }
  }

  /** Stripe moves money of a dispute without its status: below zero out of the balance. */
  moveDisputeMoney(id: string, amountCents: number): Dispute {
    const dispute = this.context.store.disputes.get(id);
    if (dispute === undefined) throw new UnknownObjectError(id);
    if (amountCents === 0) throw new ControlRefusedError('the amount must not be 0');
    return moveDisputeMoney(this.context, dispute, amountCents, CAUSED_BY_NO_REQUEST);
  }

  warnOfFraud(chargeId: string, fraudType = 'made_with_stolen_card'): EarlyFraudWarning {
    oneOf(FRAUD_TYPES, fraudType, 'fraud_type');
    return warnOfFraud(this.context, this.charge(chargeId), fraudType, CAUSED_BY_NO_REQUEST);
  }

  /** A pending refund arrives. */
  succeedRefund(id: string): Refund {
    const refund = this.refund(id);
    if (refund.status !== 'pending') throw new ControlRefusedError(`${id} is ${refund.status}`);
    this.context.store.plannedOutcomes.delete(id);
    return succeedRefund(this.context, refund, CAUSED_BY_NO_REQUEST);
  }

  /** A refund comes back, pending or said to have succeeded. */
  failRefund(id: string, reason = 'expired_or_canceled_card'): Refund {
    const refund = this.refund(id);
    oneOf(REFUND_FAILURE_REASONS, reason, 'reason');
    if (refund.status === 'failed') throw new ControlRefusedError(`${id} has failed already`);
    return failRefund(this.context, refund, reason, CAUSED_BY_NO_REQUEST);
  }

  payOut(): Payout {
    try {
      return payOut(this.context);
    } catch (error) {
      if (error instanceof NothingToPayOutError) throw new ControlRefusedError(error.message);
      throw error;
    }
  }

  failPayout(id: string): Payout {
    const record = this.context.store.payouts.get(id);
    if (record === undefined) throw new UnknownObjectError(id);
    if (record.object.status === 'failed') throw new ControlRefusedError(`${id} has failed already`);
    return failPayout(this.context, record);
  }

  /** A saved card behaves from now on as another test card: it runs out of money, or asks for its owner. */
  changeCard(paymentMethodId: string, cardNumber: string): PaymentMethod {
    const record = this.context.store.paymentMethods.get(paymentMethodId);
    if (record === undefined) throw new UnknownObjectError(paymentMethodId);
    const card = testCard(cardNumber);
    if (card === null) throw new ControlRefusedError('the sandbox does not know this card number');
    return putPaymentMethod(this.context, record, { cardNumber: card.number }).object;
  }

  private charge(id: string): Charge {
    const { charges, paymentIntents } = this.context.store;
    const charge = charges.get(id) ?? charges.get(paymentIntents.get(id)?.latest_charge ?? '');
    if (charge === undefined) throw new UnknownObjectError(id);
    return charge;
  }

  private refund(id: string): Refund {
    const refund = this.context.store.refunds.get(id);
    if (refund === undefined) throw new UnknownObjectError(id);
    return refund;
  }
}

function oneOf<const T extends string>(known: readonly T[], found: string, name: string): T {
  const match = known.find((candidate) => candidate === found);
  if (match === undefined) throw new ControlRefusedError(`${name} must be one of ${known.join(', ')}`);
  return match;
}
