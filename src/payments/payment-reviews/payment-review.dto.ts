import { ApiProperty } from '@nestjs/swagger';
import { toUnixSeconds } from '../../platform/common/clock.js';
import { ObjectTypeView, TextField, TimeView, WordField } from '../../platform/common/fields.js';
import { ListView, ListQuery, type Page } from '../../platform/common/pagination.js';
import { PAYMENT_DECISIONS, type PaymentDecision } from './payment-review.entity.js';
import { PAYMENT_REVIEW_STATUSES, type PaymentReviewStatus } from './payment-review.machine.js';
import type { DecidedReview } from './payment-reviews.service.js';

export class PaymentReviewQuery extends ListQuery {
  @WordField({
    description: 'Only reviews in this status; all when absent.',
    words: PAYMENT_REVIEW_STATUSES,
    optional: true,
    example: 'open',
  })
  declare readonly status?: PaymentReviewStatus;
}

export class PaymentDecisionRequest {
  @TextField({
    description: 'The reason, which is recorded with the decision.',
    max: 500,
    example: 'paid in euros by mistake',
  })
  declare readonly reason: string;
}

export class PaymentDecisionView {
  @ApiProperty({ description: 'What was decided.', enum: PAYMENT_DECISIONS, example: 'return' })
  declare readonly decision: PaymentDecision;
  @ApiProperty({ description: 'Who decided it.', example: 'operator_key:environment' })
  declare readonly actor: string;
  @ApiProperty({ description: 'The reason.', example: 'paid in euros by mistake' })
  declare readonly reason: string;
  @TimeView('When it was decided, in Unix seconds.')
  declare readonly decided_at: number;
}

export class PaymentReviewView {
  @ObjectTypeView('payment_review')
  declare readonly object: 'payment_review';
  @ApiProperty({ description: 'Id of the review.', example: 'rv_01KB2H7Q0000000000000000AA' })
  declare readonly id: string;
  @ApiProperty({ description: 'The account that paid.', example: 'acct_01KB2H7Q0000000000000000AA' })
  declare readonly account: string;
  @ApiProperty({ description: 'The top-up that was paid.', example: 'tu_01KB2H7Q0000000000000000AA' })
  declare readonly top_up: string;
  @ApiProperty({
    description:
      '`open` and `failed` (it could not be refunded) wait for a decision; `returning` is being refunded, and ' +
      '`returned` was; `dismissed` was settled elsewhere; `credited` agreed with its quote later.',
    enum: PAYMENT_REVIEW_STATUSES,
    example: 'open',
  })
  declare readonly status: PaymentReviewStatus;
  @ApiProperty({
    description: "Stripe's id of the Checkout Session or PaymentIntent.",
    example: 'cs_live_a1b2',
  })
  declare readonly payment: string;
  @ApiProperty({
    description: "Stripe's id of the PaymentIntent.",
    type: 'string',
    nullable: true,
    example: 'pi_1P0000000000000000000000',
  })
  declare readonly payment_intent: string | null;
  @ApiProperty({ description: 'Whether Stripe holds money for it.', example: true })
  declare readonly paid: boolean;
  @ApiProperty({
    description: "The amount that Stripe reports, in the currency's smallest unit.",
    type: 'integer',
    nullable: true,
    example: 1_050,
  })
  declare readonly amount: number | null;
  @ApiProperty({ description: 'The currency of the amount.', type: 'string', nullable: true, example: 'eur' })
  declare readonly currency: string | null;
  @ApiProperty({ description: 'What disagrees with the quote.', example: 'currency is eur' })
  declare readonly contradictions: string;
  @ApiProperty({
    description: "Stripe's id of the refund.",
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly stripe_refund: string | null;
  @ApiProperty({
    description: 'Why it could not be refunded.',
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly failure_code: string | null;
  @ApiProperty({
    description:
      'The dispute by which a bank has taken the payment; null when no bank has, or when it gave the payment back. Stripe does not refund a payment that a bank took: dismiss the review.',
    type: 'string',
    nullable: true,
    example: null,
  })
  declare readonly dispute: string | null;
  @ApiProperty({
    description: 'The decisions about it, oldest first.',
    type: () => [PaymentDecisionView],
  })
  declare readonly decisions: readonly PaymentDecisionView[];
  @TimeView('When the review was opened, in Unix seconds.')
  declare readonly created: number;
}

export class PaymentReviewListView extends ListView {
  @ApiProperty({ description: 'Newest first.', type: () => [PaymentReviewView] })
  declare readonly data: readonly PaymentReviewView[];
}

export function toPaymentReviewView({ review, decisions }: DecidedReview): PaymentReviewView {
  return {
    object: 'payment_review',
    id: review.id,
    account: review.accountId,
    top_up: review.topUpId,
    status: review.status,
    payment: review.payment,
    payment_intent: review.paymentIntentId,
    paid: review.paid,
    // Stripe's amounts are far below the largest exact JSON number.
    amount: review.amountCents === null ? null : Number(review.amountCents),
    currency: review.currency,
    contradictions: review.contradictions,
    stripe_refund: review.stripeRefundId,
    failure_code: review.failureCode,
    dispute: review.disputeId,
    decisions: decisions.map(({ decision, actor, reason, decidedAt }) => ({
      decision,
      actor,
      reason,
      decided_at: toUnixSeconds(decidedAt),
    })),
    created: toUnixSeconds(review.createdAt),
  };
}

export function toPaymentReviewList({ data, hasMore }: Page<DecidedReview>): PaymentReviewListView {
  return {
    object: 'list',
    url: '/v1/payment_reviews',
    has_more: hasMore,
    data: data.map(toPaymentReviewView),
  };
}
