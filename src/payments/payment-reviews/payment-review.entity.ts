import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn, Unique } from 'typeorm';
import type { UsdCents } from '../../platform/common/money.js';
import type { PaymentReviewStatus } from './payment-review.machine.js';

/** A payment that an operator has to decide about. */
export type PaymentReview = {
  readonly accountId: string;
  readonly id: string;
  readonly topUpId: string;
  readonly status: PaymentReviewStatus;
  /** Stripe's id of the Checkout Session, or of the PaymentIntent of a saved card. */
  readonly payment: string;
  readonly paymentIntentId: string | null;
  /** Whether Stripe holds money for it. */
  readonly paid: boolean;
  /** The amount in the currency's smallest unit, which for the dollar is the cent. */
  readonly amountCents: UsdCents | null;
  readonly currency: string | null;
  /** What disagrees with the quote, as a text for people. */
  readonly contradictions: string;
  /** How many refunds of it were attempted. Each attempt is a separate request to Stripe. */
  readonly returns: number;
  readonly stripeRefundId: string | null;
  readonly failureCode: string | null;
  /** The dispute by which a bank has taken the payment; null when no bank has, or when it gave the payment back. */
  readonly disputeId: string | null;
  readonly createdAt: Date;
  readonly checkedAt: Date;
};

/** Like `usdCentsColumn`, for a column that may be null. */
const nullableCents = {
  to: (value: UsdCents | null): string | null => (value === null ? null : value.toString()),
  from: (value: string | null): UsdCents | null => (value === null ? null : (BigInt(value) as UsdCents)),
};

@Entity('payment_reviews')
@Unique('payment_reviews_payment_key', ['accountId', 'payment'])
@Check('payment_reviews_id_form', `id LIKE 'rv\\_%'`)
@Check(
  'payment_reviews_status_known',
  `status IN ('open', 'returning', 'returned', 'failed', 'dismissed', 'credited')`,
)
@Check('payment_reviews_returned_at_stripe', `status <> 'returned' OR stripe_refund_id IS NOT NULL`)
@Check('payment_reviews_returns_counted', `returns >= 0 AND (returns > 0 OR status <> 'returning')`)
@ForeignKey('TopUpEntity', ['accountId', 'topUpId'], ['accountId', 'id'], {
  name: 'payment_reviews_top_up_fkey',
})
@Index('payment_reviews_id_idx', ['id'])
@Index('payment_reviews_payment_intent_id_idx', ['paymentIntentId'], {
  where: 'payment_intent_id IS NOT NULL',
})
@Index('payment_reviews_top_up_idx', ['accountId', 'topUpId'])
@Index('payment_reviews_waiting_idx', ['checkedAt'], { where: `status IN ('open', 'returning', 'failed')` })
export class PaymentReviewEntity implements PaymentReview {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    primaryKeyConstraintName: 'payment_reviews_pkey',
    collation: 'C',
  })
  accountId!: string;

  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'payment_reviews_pkey', collation: 'C' })
  id!: string;

  @Column({ type: 'text', name: 'top_up_id', collation: 'C' })
  topUpId!: string;

  @Column({ type: 'text', collation: 'C' })
  status!: PaymentReviewStatus;

  @Column({ type: 'text', collation: 'C' })
  payment!: string;

  @Column({ type: 'text', name: 'payment_intent_id', nullable: true, collation: 'C' })
  paymentIntentId!: string | null;

  @Column('boolean')
  paid!: boolean;

  @Column({ type: 'bigint', name: 'amount_cents', nullable: true, transformer: nullableCents })
  amountCents!: UsdCents | null;

  @Column({ type: 'text', nullable: true, collation: 'C' })
  currency!: string | null;

  @Column('text')
  contradictions!: string;

  @Column({ type: 'integer', default: 0 })
  returns!: number;

  @Column({ type: 'text', name: 'stripe_refund_id', nullable: true, collation: 'C' })
  stripeRefundId!: string | null;

  @Column({ type: 'text', name: 'dispute_id', nullable: true, collation: 'C' })
  disputeId!: string | null;

  @Column({ type: 'text', name: 'failure_code', nullable: true, collation: 'C' })
  failureCode!: string | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'checked_at', precision: 3 })
  checkedAt!: Date;
}

export const PAYMENT_DECISIONS = ['return', 'dismiss'] as const;

export type PaymentDecision = (typeof PAYMENT_DECISIONS)[number];

/** One decision about a payment: what was decided, by whom, when and why. Its row is never changed. */
@Entity('payment_review_decisions')
@ForeignKey('PaymentReviewEntity', ['accountId', 'reviewId'], ['accountId', 'id'], {
  name: 'payment_review_decisions_review_fkey',
})
@Check('payment_review_decisions_known', `decision IN ('return', 'dismiss')`)
@Check('payment_review_decisions_text_length', 'char_length(reason) BETWEEN 1 AND 500')
export class PaymentReviewDecisionEntity {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    primaryKeyConstraintName: 'payment_review_decisions_pkey',
    collation: 'C',
  })
  accountId!: string;

  @PrimaryColumn({
    type: 'text',
    name: 'review_id',
    primaryKeyConstraintName: 'payment_review_decisions_pkey',
    collation: 'C',
  })
  reviewId!: string;

  @PrimaryColumn({ type: 'integer', primaryKeyConstraintName: 'payment_review_decisions_pkey' })
  number!: number;

  @Column({ type: 'text', collation: 'C' })
  decision!: PaymentDecision;

  @Column({ type: 'text', collation: 'C' })
  actor!: string;

  @Column('text')
  reason!: string;

  @Column({ type: 'timestamptz', name: 'decided_at', precision: 3 })
  decidedAt!: Date;
}
