import { Inject, Injectable, Logger } from '@nestjs/common';
import { PAYMENT_GATEWAY, type PaymentGateway, type ProviderRefund } from '../stripe/payment-gateway.js';
import { PaymentRequestRefusedError } from '../stripe/payments.errors.js';
import {
  METADATA_RETURN,
  METADATA_REVIEW,
  StripePaymentReturns,
  type PaymentReturn,
} from '../stripe/stripe-payment-returns.js';
import type { PaymentReview } from './payment-review.entity.js';
import { PaymentReviewRepository } from './payment-review.repository.js';

/** What Stripe says in the end. */
const ENDINGS: ReadonlyMap<string, 'returned' | 'failed'> = new Map([
  ['succeeded', 'returned'],
  ['failed', 'failed'],
  ['canceled', 'failed'],
]);

/**
 * Takes a payment that an operator sends back to where Stripe says it is. No credit was given for it, so no wallet is
 * touched. Each step may be repeated by any process at any time: Stripe knows the idempotency key, and what it
 * forgot is found among the payment's refunds.
 */
@Injectable()
export class PaymentReturns {
  private readonly logger = new Logger(PaymentReturns.name);

  constructor(
    @Inject(PAYMENT_GATEWAY) private readonly gateway: PaymentGateway,
    private readonly provider: StripePaymentReturns,
    private readonly reviews: PaymentReviewRepository,
  ) {}

  /**
   * Asks Stripe, and acts on its answer. `mayBeThere`: an earlier attempt may have reached Stripe so long ago that it has
   * forgotten the idempotency key; then it is looked for first.
   * Throws `PaymentRequestRefusedError` when it is under review again, or `PaymentsUnavailableError`.
   */
  async submit(review: PaymentReview, mayBeThere: boolean): Promise<void> {
    const { id: reviewId, topUpId, accountId, paymentIntentId, returns } = review;
    if (paymentIntentId === null) throw new Error(`${reviewId} names no payment`);
    const made = mayBeThere ? await this.findAtStripe(review, paymentIntentId) : null;
    if (made !== null) return this.followOwn(review, made);
    try {
      const wanted = { reviewId, topUpId, accountId, paymentIntentId, number: returns };
      await this.followOwn(review, await this.provider.create(wanted, `${reviewId}:return:${returns}`));
    } catch (error) {
      if (!(error instanceof PaymentRequestRefusedError)) throw error;
      // It may have been made after all, by an attempt whose answer was lost.
      const after = await this.findAtStripe(review, paymentIntentId);
      if (after !== null) return this.followOwn(review, after);
      await this.reviews.move(review, 'failed', { failureCode: error.providerCode });
      this.logger.error(
        `${reviewId} could not be sent back (${error.providerCode}); it is under review again.`,
      );
      throw error;
    }
  }

  /**
   * News of a refund. Answers whether its payment was under review: then it is no refund of credit, whoever made it.
   * Safe to repeat at any time and in any order.
   */
  async follow(made: ProviderRefund): Promise<boolean> {
    const named = made.metadata[METADATA_REVIEW];
    if (named !== undefined) {
      const review = await this.reviews.find(named);
      if (review === null) this.logger.error(`${made.id} is the return of ${named}, which is unknown here.`);
      else if (isOf(review, made)) await this.followOwn(review, made);
      return true;
    }
    const review =
      made.paymentIntentId === null ? null : await this.reviews.findByPaymentIntent(made.paymentIntentId);
    if (review === null || review.status === 'credited') return false;
    await this.adopt(review, made);
    return true;
  }

  private async followOwn(review: PaymentReview, made: PaymentReturn): Promise<void> {
    const facts = { stripeRefundId: made.id };
    const ending = ENDINGS.get(made.status ?? '');
    if (ending === undefined) return this.reviews.note(review, facts);
    const failureCode = ending === 'failed' ? (made.failureReason ?? made.status) : null;
    if (!(await this.reviews.move(review, ending, { ...facts, failureCode })))
      return this.reviews.note(review);
    if (ending === 'returned') this.logger.log(`${review.id} is returned (${made.id}).`);
    else this.logger.error(`The return of ${review.id} failed (${failureCode}); it is under review again.`);
  }

  /** Made in Stripe's dashboard, where a person looked as well. */
  private async adopt(review: PaymentReview, made: ProviderRefund): Promise<void> {
    if (review.stripeRefundId === made.id) return this.followOwn(review, made);
    if (ENDINGS.get(made.status ?? '') !== 'returned') return;
    const isWhole = made.currency === review.currency && made.amountCents === review.amountCents;
    if (isWhole && (await this.reviews.adoptReturn(review, made.id))) {
      this.logger.warn(`${review.id} was sent back in Stripe's dashboard (${made.id}).`);
      return;
    }
    // It is a refund of credit then, and whoever reads it again finds that.
    if ((await this.reviews.find(review.id))?.status === 'credited')
      throw new Error(`${review.id} was credited while ${made.id} was read`);
    this.logger.error(`${made.id} sends back a part of ${review.id}, which is ${review.status}.`);
  }

  private async findAtStripe(review: PaymentReview, paymentIntentId: string): Promise<ProviderRefund | null> {
    const made = await this.gateway.listRefunds(paymentIntentId);
    return made.find((each) => isOf(review, each)) ?? null;
  }
}

/** Whether this refund is the review's return, and not an earlier one that failed. */
function isOf({ id, returns }: PaymentReview, { metadata }: ProviderRefund): boolean {
  return metadata[METADATA_REVIEW] === id && metadata[METADATA_RETURN] === String(returns);
}
