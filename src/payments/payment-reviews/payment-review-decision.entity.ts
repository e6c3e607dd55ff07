import { Check, Column, Entity, ForeignKey, PrimaryColumn } from 'typeorm';

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
