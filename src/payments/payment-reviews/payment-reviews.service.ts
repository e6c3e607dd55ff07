import { Injectable } from '@nestjs/common';
import type { AuditActor } from '../../identity/audit-log/audit-event.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { PaymentRequestRefusedError, PaymentsUnavailableError } from '../stripe/payments.errors.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { UncreditedRefundsService } from './uncredited-refunds.service.js';
import type { PaymentReviewDecisionEntity, PaymentReview } from './payment-review.entity.js';
import {
  PaymentNotReturnableError,
  PaymentReturnRefusedError,
  PaymentReviewResolvedError,
} from './payment-review.errors.js';
import type { PaymentReviewStatus } from './payment-review.machine.js';
import { PaymentReviewRepository } from './payment-review.repository.js';

/** A review and the decisions about it, oldest first. */
export type DecidedReview = {
  readonly review: PaymentReview;
  readonly decisions: readonly PaymentReviewDecisionEntity[];
};

export type DecisionReason = { readonly by: AuditActor; readonly reason: string };

/** Lists payments that contradict their quote, and carries out what operators decide about them. */
@Injectable()
export class PaymentReviewsService {
  constructor(
    private readonly reviews: PaymentReviewRepository,
    private readonly returns: UncreditedRefundsService,
  ) {}

  /** Lists reviews, newest first. Throws `InvalidRequestError` for a cursor that is not a review's id. */
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
   * Refunds the payment in full; it can no longer be credited. A repeated request continues the same refund and never
   * refunds twice. Resolves when Stripe has accepted the refund, or when its answer is unknown: then the status is
   * `returning`, and the job continues.
   * Throws `ResourceMissingError`, `PaymentNotReturnableError`, `PaymentReviewResolvedError`, `PaymentReturnRefusedError`.
   */
  async return(id: string, { by, reason }: DecisionReason): Promise<DecidedReview> {
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
      // The request may have reached Stripe, so the job continues it.
      if (!(error instanceof PaymentsUnavailableError)) throw error;
    }
    return this.require(id);
  }

  /**
   * Closes the review without a refund, because the payment was settled elsewhere. It can no longer be credited.
   * Throws `ResourceMissingError`, or `PaymentReviewResolvedError`.
   */
  async dismiss(id: string, { by, reason }: DecisionReason): Promise<DecidedReview> {
    const { review } = await this.require(id);
    const decided = await this.reviews.decide(review, 'dismissed', { decision: 'dismiss', by, reason });
    const found = await this.require(id);
    if (decided === null && found.review.status !== 'dismissed') {
      throw new PaymentReviewResolvedError(id, found.review.status);
    }
    return found;
  }

  private async withDecisions(reviews: readonly PaymentReview[]): Promise<DecidedReview[]> {
    const decisions = await this.reviews.findDecisions(reviews);
    return reviews.map((review) => ({
      review,
      decisions: decisions.filter(({ reviewId }) => reviewId === review.id),
    }));
  }
}
