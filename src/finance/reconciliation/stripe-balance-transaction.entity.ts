import { Check, Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { UsdCents } from '../../platform/common/money.js';
import { usdCentsColumn } from '../../platform/database/money-columns.js';
import type { BalanceTransaction } from '../../payments/stripe/stripe-balance-list.js';

/** A balance transaction as Stripe reported it. Only `bookedAt` is ours. */
@Entity('stripe_balance_transactions')
@Check('stripe_balance_transactions_net', 'net_cents = amount_cents - fee_cents')
@Index('stripe_balance_transactions_unbooked_idx', ['createdAt', 'id'], { where: 'booked_at IS NULL' })
@Index('stripe_balance_transactions_created_at_idx', ['createdAt'])
@Index('stripe_balance_transactions_payment_intent_idx', ['paymentIntentId'], {
  where: 'payment_intent_id IS NOT NULL',
})
export class StripeBalanceTransactionEntity implements BalanceTransaction {
  @PrimaryColumn({
    type: 'text',
    primaryKeyConstraintName: 'stripe_balance_transactions_pkey',
    collation: 'C',
  })
  id!: string;

  @Column('boolean')
  livemode!: boolean;

  @Column({ type: 'text', collation: 'C' })
  type!: string;

  @Column({ type: 'text', name: 'reporting_category', collation: 'C' })
  reportingCategory!: string;

  @Column({ type: 'text', collation: 'C' })
  currency!: string;

  @Column({ type: 'bigint', name: 'amount_cents', transformer: usdCentsColumn })
  amountCents!: UsdCents;

  @Column({ type: 'bigint', name: 'fee_cents', transformer: usdCentsColumn })
  feeCents!: UsdCents;

  @Column({ type: 'bigint', name: 'net_cents', transformer: usdCentsColumn })
  netCents!: UsdCents;

  @Column({ type: 'text', name: 'source_id', nullable: true, collation: 'C' })
  sourceId!: string | null;

  @Column({ type: 'text', name: 'payment_intent_id', nullable: true, collation: 'C' })
  paymentIntentId!: string | null;

  @Column({ type: 'text', name: 'top_up_id', nullable: true, collation: 'C' })
  topUpId!: string | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'stored_at', precision: 3 })
  storedAt!: Date;

  @Column({ type: 'timestamptz', name: 'booked_at', precision: 3, nullable: true })
  bookedAt!: Date | null;
}
