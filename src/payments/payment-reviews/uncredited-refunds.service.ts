import { Inject, Injectable, Logger } from '@nestjs/common';
import { PAYMENT_GATEWAY, type PaymentGateway, type ProviderRefund } from '../stripe/payment-gateway.js';
import { PaymentRequestRefusedError } from '../stripe/payments.errors.js';
import {
  METADATA_RETURN,
  METADATA_REVIEW,
  StripeUncreditedRefunds,
  type UncreditedRefund,
} from '../stripe/stripe-uncredited-refunds.js';
import type { PaymentReview } from './payment-review.entity.js';
import { PaymentReviewRepository } from './payment-review.repository.js';

/** The final statuses of a refund at Stripe, and what each means for the review. */
const ENDINGS: ReadonlyMap<string, 'returned' | 'failed'> = new Map([
  ['succeeded', 'returned'],
  ['failed', 'failed'],
  ['canceled', 'failed'],
]);

/**
 * Refunds a payment that was never credited, and follows the refund at Stripe. No wallet is changed. Any process may repeat
 * each step at any time: Stripe knows the idempotency key, and a refund whose key it has forgotten is found among the
 * payment's refunds.
 */
@Injectable()
export class UncreditedRefundsService {
  private readonly logger = new Logger(UncreditedRefundsService.name);

  constructor(
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly provider: StripeUncreditedRefunds,
    private readonly reviews: PaymentReviewRepository,
  ) {}

  /**
   * Requests the refund and applies Stripe's answer. Throws `PaymentRequestRefusedError` when Stripe refuses it (the payment is
   * then under review again), or `PaymentsUnavailableError`.
   *
   * @param mayExist an earlier attempt may have reached Stripe so long ago that it has forgotten the idempotency key. Then the
   *   refund is searched for first.
   */
  async submit(review: PaymentReview, mayExist: boolean): Promise<void> {
    const { id: reviewId, topUpId, accountId, paymentIntentId, returns } = review;
    if (paymentIntentId === null) throw new Error(`${reviewId} names no payment`);
    const existing = mayExist ? await this.findAtStripe(review, paymentIntentId) : null;
    if (existing !== null) return this.applyOwn(review, existing);
    try {
      const request = { reviewId, topUpId, accountId, paymentIntentId, number: returns };
      await this.applyOwn(review, await this.provider.create(request, `${reviewId}:return:${returns}`));
    } catch (error) {
      if (!(error instanceof PaymentRequestRefusedError)) throw error;
      // An attempt whose answer was lost may have created the refund.
      const created = await this.findAtStripe(review, paymentIntentId);
      if (created !== null) return this.applyOwn(review, created);
      await this.reviews.move(review, 'failed', { failureCode: error.providerCode });
      this.logger.error(
        { event: 'payment_review.refund_refused', review: reviewId, code: error.providerCode },
        'Stripe refused to refund a payment; it is under review again',
      );
      throw error;
    }
  }

  /**
   * Handles an event of a refund. Returns whether its payment was under review; then it is not a refund of credit, whether
   * we or an operator in Stripe's dashboard created it. Safe to repeat at any time and in any order.
   */
  async apply(refund: ProviderRefund): Promise<boolean> {
    const named = refund.metadata[METADATA_REVIEW];
    if (named !== undefined) {
      const review = await this.reviews.find(named);
      if (review === null) {
        this.logger.error(
          { event: 'payment_review.missing', review: named, refund: refund.id },
          'A refund at Stripe names a payment review that does not exist here',
        );
      } else if (isPresentRefund(review, refund)) await this.applyOwn(review, refund);
      return true;
    }
    const review =
      refund.paymentIntentId === null ? null : await this.reviews.findByPaymentIntent(refund.paymentIntentId);
    if (review === null || review.status === 'credited') return false;
    await this.adopt(review, refund);
    return true;
  }

  private async applyOwn(review: PaymentReview, refund: UncreditedRefund): Promise<void> {
    const facts = { stripeRefundId: refund.id };
    const ending = ENDINGS.get(refund.status ?? '');
    if (ending === undefined) return this.reviews.note(review, facts);
    const failureCode = ending === 'failed' ? (refund.failureReason ?? refund.status) : null;
    if (!(await this.reviews.move(review, ending, { ...facts, failureCode })))
      return this.reviews.note(review);
    const fields = { review: review.id, refund: refund.id };
    if (ending === 'returned') {
      this.logger.log({ event: 'payment_review.refunded', ...fields }, 'A payment under review was refunded');
    } else {
      this.logger.error(
        { event: 'payment_review.refund_failed', ...fields, code: failureCode },
        'The refund of a payment failed; it is under review again',
      );
    }
  }

  /** Applies a refund that was created in Stripe's dashboard: that is the decision of a person as well. */
  private async adopt(review: PaymentReview, refund: ProviderRefund): Promise<void> {
    if (review.stripeRefundId === refund.id) return this.applyOwn(review, refund);
    if (ENDINGS.get(refund.status ?? '') !== 'returned') return;
    const isWhole = refund.currency === review.currency && refund.amountCents === review.amountCents;
    const fields = { review: review.id, refund: refund.id };
    if (isWhole && (await this.reviews.adoptReturn(review, refund.id))) {
      this.logger.warn(
        { event: 'payment_review.refunded_at_stripe', ...fields },
        "A payment under review was refunded in Stripe's dashboard",
      );
      return;
    }
    // The refund is one of credit then, and the retry of this event handles it as such.
    if ((await this.reviews.find(review.id))?.status === 'credited')
      throw new Error(`${review.id} was credited while ${refund.id} was read`);
    this.logger.error(
      { event: 'payment_review.partly_refunded', ...fields, status: review.status },
      "A refund in Stripe's dashboard covers only a part of a payment under review; an operator has to check it",
    );
  }

  private async findAtStripe(review: PaymentReview, paymentIntentId: string): Promise<ProviderRefund | null> {
    const refunds = await this.gateway.listRefunds(paymentIntentId);
    return refunds.find((refund) => isPresentRefund(review, refund)) ?? null;
  }
}

/** Whether this refund belongs to the review's present attempt, and not to an earlier one that failed. */
function isPresentRefund({ id, returns }: PaymentReview, { metadata }: ProviderRefund): boolean {
  return metadata[METADATA_REVIEW] === id && metadata[METADATA_RETURN] === String(returns);
}
