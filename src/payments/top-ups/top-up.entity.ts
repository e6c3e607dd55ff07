import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn, Unique } from 'typeorm';
import type { UsdCents } from '../../platform/common/money.js';
import type { TopUpFeeMode } from '../../platform/config/settings.js';
import { usdCentsColumn } from '../../platform/database/money-columns.js';
import type { TopUp, TopUpFailure, TopUpKind } from './top-up.js';
import type { TopUpStatus } from './top-up.machine.js';
import { PaymentColumns } from './payment-columns.js';

@Entity('top_ups')
@Unique('top_ups_idempotency_key_key', ['accountId', 'idempotencyKey'])
@Unique('top_ups_checkout_session_id_key', ['accountId', 'checkoutSessionId'])
@Check('top_ups_id_form', `id LIKE 'tu\\_%'`)
@Check(
  'top_ups_status_known',
  `status IN ('created', 'pending', 'processing', 'paid', 'expired', 'failed', 'needs_review', 'rejected')`,
)
@Check(
  'top_ups_amounts',
  'credit_micros > 0 AND fee_micros >= 0 AND credit_micros + fee_micros = charge_cents * 10000',
)
@Check('top_ups_fee_mode_known', `fee_mode IN ('on_top', 'deducted')`)
@Check('top_ups_fee_bps_range', 'fee_bps BETWEEN 0 AND 10000')
@Check('top_ups_paid_at_when_paid', `(status = 'paid') = (paid_at IS NOT NULL)`)
@Check(
  'top_ups_paid_by_session',
  `status <> 'paid' OR checkout_session_id IS NOT NULL OR (kind = 'auto' AND payment_intent_id IS NOT NULL)`,
)
@Check('top_ups_kind_known', `kind IN ('checkout', 'auto')`)
@Check(
  'top_ups_auto_by_card',
  `(kind = 'auto') = (payment_method_id IS NOT NULL) AND (kind = 'auto' OR dispatched_at IS NULL)
    AND (kind = 'checkout' OR customer_id IS NOT NULL)`,
)
@Index('top_ups_auto_in_flight_key', ['accountId', 'livemode'], {
  unique: true,
  where: `kind = 'auto' AND status IN ('created', 'pending', 'processing', 'needs_review')`,
})
@Index('top_ups_auto_idx', ['accountId', 'createdAt'], { where: `kind = 'auto'` })
@Check(
  'top_ups_tax_when_asked',
  'tax_micros >= 0 AND tax_micros % 10000 = 0 AND (automatic_tax OR tax_micros = 0)',
)
@Index('top_ups_id_idx', ['id'])
@Index('top_ups_payment_intent_id_idx', ['paymentIntentId'], { where: 'payment_intent_id IS NOT NULL' })
@Index('top_ups_account_opened_idx', ['accountId', 'createdAt'], { where: 'client_address IS NOT NULL' })
@Index('top_ups_address_opened_idx', ['clientAddress', 'createdAt'], { where: 'client_address IS NOT NULL' })
@Index('top_ups_open_idx', ['checkedAt'], { where: `status IN ('created', 'pending', 'processing')` })
export class TopUpEntity extends PaymentColumns implements TopUp {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    primaryKeyConstraintName: 'top_ups_pkey',
    collation: 'C',
  })
  @ForeignKey('AccountEntity', { name: 'top_ups_account_id_fkey' })
  accountId!: string;

  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'top_ups_pkey', collation: 'C' })
  id!: string;

  @Column({ type: 'text', collation: 'C', default: 'checkout' })
  kind!: TopUpKind;

  @Column({ type: 'text', collation: 'C' })
  status!: TopUpStatus;

  @Column({ type: 'bigint', name: 'charge_cents', transformer: usdCentsColumn })
  chargeCents!: UsdCents;

  @Column({ type: 'text', name: 'fee_mode', collation: 'C' })
  feeMode!: TopUpFeeMode;

  @Column({ type: 'integer', name: 'fee_bps' })
  feeBps!: number;

  @Column('boolean')
  livemode!: boolean;

  @Column({ type: 'boolean', name: 'save_card' })
  saveCard!: boolean;

  @Column({ type: 'text', name: 'success_url' })
  successUrl!: string;

  @Column({ type: 'text', name: 'cancel_url' })
  cancelUrl!: string;

  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3 })
  expiresAt!: Date;

  @Column({ type: 'text', name: 'customer_id', nullable: true, collation: 'C' })
  customerId!: string | null;

  @Column({ type: 'text', name: 'checkout_session_id', nullable: true, collation: 'C' })
  checkoutSessionId!: string | null;

  @Column({ type: 'text', name: 'checkout_url', nullable: true })
  checkoutUrl!: string | null;

  @Column({ type: 'text', name: 'payment_intent_id', nullable: true, collation: 'C' })
  paymentIntentId!: string | null;

  @Column({ type: 'text', name: 'payment_method_id', nullable: true, collation: 'C' })
  paymentMethodId!: string | null;

  @Column({ type: 'timestamptz', name: 'dispatched_at', precision: 3, nullable: true })
  dispatchedAt!: Date | null;

  @Column({ type: 'text', name: 'decline_code', nullable: true, collation: 'C' })
  declineCode!: string | null;

  @Column({ type: 'text', name: 'failure_code', nullable: true, collation: 'C' })
  failureCode!: TopUpFailure | null;

  @Column({ type: 'text', name: 'client_address', nullable: true, collation: 'C' })
  clientAddress!: string | null;

  @Column({ type: 'timestamptz', name: 'paid_at', precision: 3, nullable: true })
  paidAt!: Date | null;

  @Column({ type: 'boolean', name: 'automatic_tax', default: false })
  automaticTax!: boolean;

  @Column({ type: 'text', name: 'invoice_url', nullable: true })
  invoiceUrl!: string | null;

  @Column({ type: 'text', name: 'receipt_url', nullable: true })
  receiptUrl!: string | null;
}
