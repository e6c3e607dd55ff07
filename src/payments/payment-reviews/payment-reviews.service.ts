import { Injectable } from '@nestjs/common';
import type { AuditActor } from '../../identity/audit-log/audit-event.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { PaymentRequestRefusedError, PaymentsUnavailableError } from '../stripe/payments.errors.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { PaymentReturns } from './payment-return.service.js';
import type { PaymentReviewDecisionEntity } from './payment-review-decision.entity.js';
import type { PaymentReview } from './payment-review.entity.js';
import {
  PaymentNotReturnableError,
  PaymentReturnRefusedError,
  PaymentReviewResolvedError,
} from './payment-review.errors.js';
import type { PaymentReviewStatus } from './payment-review.machine.js';
import { PaymentReviewRepository } from './payment-review.repository.js';

/** With what was decided about it, oldest first. */
export type DecidedReview = {
  readonly review: PaymentReview;
  readonly decisions: readonly PaymentReviewDecisionEntity[];
};

export type Why = { readonly by: AuditActor; readonly reason: string };

/** What operators see of payments that contradict their quote, and do about them. */
@Injectable()
export class PaymentReviews {
  constructor(
    private readonly reviews: PaymentReviewRepository,
    private readonly returns: PaymentReturns,
  ) {}

  /** Newest first. Throws `InvalidRequestError` for a cursor that is no review's id. */
  async list(status: PaymentReviewStatus | null, page: PageRequest): Promise<Page<DecidedReview>> {
    const { data, hasMore } = await this.reviews.page(status, page);
    return { data: await this.withDecisions(data), hasMore };
  }

  /** Throws `ResourceMissingError`. */
  async require(id: string): Promise<DecidedReview> {
    const review = await this.reviews.find(id);
    if (review === null) throw new ResourceMissingError('payment review', id);
    const [found] = await this.withDecisions([review]);
    return found ?? { review, decisions: [] };
  }

  /**
   * Sends the payment back in full; nothing is credited any more. Asked again it goes on where it stands, and sends
   * nothing back twice. Resolves when Stripe has it, or when only the job can tell: then its status is `returning`.
   * Throws `ResourceMissingError`, `PaymentNotReturnableError`, `PaymentReviewResolvedError`, `PaymentReturnRefusedError`.
   */
  async return(id: string, { by, reason }: Why): Promise<DecidedReview> {
    const { review } = await this.require(id);
    if (review.status === 'returned') return this.require(id);
    if (review.paymentIntentId === null || !review.paid) throw new PaymentNotReturnableError(id);
    const decided = await this.reviews.decide(review, 'returning', { decision: 'return', by, reason });
    const current = decided ?? (await this.require(id)).review;
    if (current.status === 'returned') return this.require(id);
    if (current.status !== 'returning') throw new PaymentReviewResolvedError(id, current.status);
    try {
      await this.returns.submit(current, decided === null);
    } catch (error) {
      if (error instanceof PaymentRequestRefusedError) {
        throw new PaymentReturnRefusedError(id, error.providerCode, error);
      }
      // It may have reached Stripe; the job goes on.
      if (!(error instanceof PaymentsUnavailableError)) throw error;
    }
    return this.require(id);
  }

  /**
   * Closes it without sending anything back: it was settled elsewhere, and nothing is credited any more.
   * Throws `ResourceMissingError`, or `PaymentReviewResolvedError`.
   */
  async dismiss(id: string, { by, reason }: Why): Promise<DecidedReview> {
    const { review } = await this.require(id);
    const decided = await this.reviews.decide(review, 'dismissed', { decision: 'dismiss', by, reason });
    const found = await this.require(id);
    if (decided === null && found.review.status !== 'dismissed') {
      throw new PaymentReviewResolvedError(id, found.review.status);
    }
    return found;
  }

  private async withDecisions(reviews: readonly PaymentReview[]): Promise<DecidedReview[]> {
    const decisions = await this.reviews.decisionsOf(reviews);
    return reviews.map((review) => ({
      review,
      decisions: decisions.filter(({ reviewId }) => reviewId === review.id),
    }));
  }
}
