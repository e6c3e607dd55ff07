import { Injectable } from '@nestjs/common';
import type { Stripe } from 'stripe';
import { METADATA_ACCOUNT, METADATA_TOP_UP } from './payment-gateway.js';
import { StripeApi } from './stripe-api.js';

/** The metadata key on Stripe's refund that holds the id of the payment review. */
export const METADATA_REVIEW = 'payment_review_id';
/** The metadata key that holds the number of the attempt to refund. An earlier attempt may have failed. */
export const METADATA_RETURN = 'payment_return';

export type NewUncreditedRefund = {
  readonly reviewId: string;
  readonly topUpId: string;
  readonly accountId: string;
  readonly paymentIntentId: string;
  /** The number of the attempt, counted from 1. */
  readonly number: number;
};

/** A refund of a whole uncredited payment, as Stripe reports it now. */
export type UncreditedRefund = {
  readonly id: string;
  /** `pending`, `requires_action`, `succeeded`, `failed` or `canceled`; Stripe may add values. */
  readonly status: string | null;
  readonly failureReason: string | null;
};

/** Refunds payments that were never credited, in full and in the currency in which they were paid. */
@Injectable()
export class StripeUncreditedRefunds {
  constructor(private readonly api: StripeApi) {}

  /**
   * Refunds what was not refunded of the payment before. Throws what the `PaymentGateway` throws.
   *
   * @param idempotencyKey the same for every request for the same refund.
   */
  async create(
    { reviewId, topUpId, accountId, paymentIntentId, number }: NewUncreditedRefund,
    idempotencyKey: string,
  ): Promise<UncreditedRefund> {
    const params: Stripe.RefundCreateParams = {
      payment_intent: paymentIntentId,
      metadata: {
        [METADATA_REVIEW]: reviewId,
        [METADATA_RETURN]: String(number),
        [METADATA_TOP_UP]: topUpId,
        [METADATA_ACCOUNT]: accountId,
      },
    };
    const refund = await this.api.call('refund', (stripe) =>
      stripe.refunds.create(params, { idempotencyKey }),
    );
    return { id: refund.id, status: refund.status, failureReason: refund.failure_reason ?? null };
  }
}
