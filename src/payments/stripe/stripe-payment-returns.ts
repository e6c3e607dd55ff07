import { Injectable } from '@nestjs/common';
import type { Stripe } from 'stripe';
import { METADATA_ACCOUNT, METADATA_TOP_UP } from './payment-gateway.js';
import { StripeApi } from './stripe-api.js';

/** The name under which the id of a payment review stands on Stripe's refund. */
export const METADATA_REVIEW = 'payment_review_id';
/** And which attempt to send it back this is: an earlier one may have failed. */
export const METADATA_RETURN = 'payment_return';

export type NewPaymentReturn = {
  readonly reviewId: string;
  readonly topUpId: string;
  readonly accountId: string;
  readonly paymentIntentId: string;
  /** Counted from 1. */
  readonly number: number;
};

/** A refund of a whole payment, as Stripe tells it now. */
export type PaymentReturn = {
  readonly id: string;
  /** `pending`, `requires_action`, `succeeded`, `failed` or `canceled`; Stripe adds values. */
  readonly status: string | null;
  readonly failureReason: string | null;
};

/** Sends payments back that were never credited: in full, in whatever currency they came. */
@Injectable()
export class StripePaymentReturns {
  constructor(private readonly api: StripeApi) {}

  /**
   * Everything of the payment that was not sent back before. Throws what the `PaymentGateway` throws.
   *
   * @param idempotencyKey the same for every attempt at the same return.
   */
  async create(
    { reviewId, topUpId, accountId, paymentIntentId, number }: NewPaymentReturn,
    idempotencyKey: string,
  ): Promise<PaymentReturn> {
    const params: Stripe.RefundCreateParams = {
      payment_intent: paymentIntentId,
      metadata: {
        [METADATA_REVIEW]: reviewId,
        [METADATA_RETURN]: String(number),
        [METADATA_TOP_UP]: topUpId,
        [METADATA_ACCOUNT]: accountId,
      },
    };
    const made = await this.api.call('refund', (stripe) => stripe.refunds.create(params, { idempotencyKey }));
    return { id: made.id, status: made.status, failureReason: made.failure_reason ?? null };
  }
}
