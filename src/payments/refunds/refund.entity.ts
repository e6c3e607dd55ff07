import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn, Unique } from 'typeorm';
import type { MicroUsd, UsdCents } from '../../platform/common/money.js';
import { microUsdColumn, usdCentsColumn } from '../../platform/database/money-columns.js';
import type { RefundStatus } from './refund.machine.js';
import type { Refund } from './refund.js';
import { PaymentColumns } from '../top-ups/payment-columns.js';

@Entity('refunds')
@Unique('refunds_idempotency_key_key', ['accountId', 'idempotencyKey'])
@Check('refunds_id_form', `id LIKE 're\\_%'`)
@Check(
  'refunds_status_known',
  `status IN ('created', 'pending', 'succeeded', 'failing', 'failed', 'refused', 'needs_review')`,
)
@Check('refunds_failing_decided', `status <> 'failing' OR failure_decided_at IS NOT NULL`)
@Check(
  'refunds_amounts',
  `credit_micros >= 0 AND fee_micros >= 0 AND tax_micros >= 0 AND excess_micros >= 0
    AND (credit_micros > 0 OR excess_micros > 0)
    AND credit_micros + fee_micros + tax_micros + excess_micros = amount_cents * 10000`,
)
@Check(
  'refunds_known_to_stripe',
  `status NOT IN ('pending', 'succeeded', 'needs_review') OR stripe_refund_id IS NOT NULL`,
)
@Check('refunds_text_length', 'char_length(reason) <= 500')
@ForeignKey('TopUpEntity', ['accountId', 'topUpId'], ['accountId', 'id'], { name: 'refunds_top_up_fkey' })
@Index('refunds_stripe_refund_id_idx', ['stripeRefundId'], {
  unique: true,
  where: 'stripe_refund_id IS NOT NULL',
})
@Index('refunds_id_idx', ['id'])
@Index('refunds_top_up_idx', ['accountId', 'topUpId'])
@Index('refunds_refused_idx', ['checkedAt'], { where: `status = 'refused'` })
@Index('refunds_open_idx', ['checkedAt'], {
  where: `status IN ('created', 'pending', 'failing', 'needs_review')`,
})
export class RefundEntity extends PaymentColumns implements Refund {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    primaryKeyConstraintName: 'refunds_pkey',
    collation: 'C',
  })
  accountId!: string;

  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'refunds_pkey', collation: 'C' })
  id!: string;

  @Column({ type: 'text', name: 'top_up_id', collation: 'C' })
  topUpId!: string;

  @Column({ type: 'text', collation: 'C' })
  status!: RefundStatus;

  @Column({ type: 'bigint', name: 'excess_micros', default: 0, transformer: microUsdColumn })
  excessMicros!: MicroUsd;

  @Column({ type: 'bigint', name: 'amount_cents', transformer: usdCentsColumn })
  amountCents!: UsdCents;

  @Column({ type: 'text', name: 'payment_intent_id', collation: 'C' })
  paymentIntentId!: string;

  @Column({ type: 'text', name: 'return_lot_id', collation: 'C' })
  returnLotId!: string;

  @Column({ type: 'text', nullable: true })
  reason!: string | null;

  @Column({ type: 'text', name: 'stripe_refund_id', nullable: true, collation: 'C' })
  stripeRefundId!: string | null;

  @Column({ type: 'text', name: 'failure_code', nullable: true, collation: 'C' })
  failureCode!: string | null;

  @Column({ type: 'timestamptz', name: 'failure_decided_at', precision: 3, nullable: true })
  failureDecidedAt!: Date | null;

  @Column({ type: 'integer', name: 'decisions_before', nullable: true })
  decisionsBefore!: number | null;

  @Column({ type: 'timestamptz', name: 'submitted_at', precision: 3, nullable: true })
  submittedAt!: Date | null;
}
