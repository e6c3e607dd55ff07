import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn } from 'typeorm';
import type { MicroUsd, UsdCents } from '../../platform/common/money.js';
import { microUsdColumn, usdCentsColumn } from '../../platform/database/money-columns.js';

/** A payment that a cardholder's bank takes back. Its id and its status are Stripe's. */
@Entity('disputes')
@Check(
  'disputes_amounts',
  `amount_cents > 0 AND credit_micros >= 0 AND fee_micros >= 0 AND tax_micros >= 0 AND excess_micros >= 0
    AND (credit_micros > 0 OR excess_micros > 0)
    AND credit_micros + fee_micros + coalesce(tax_micros, 0) + excess_micros = amount_cents * 10000`,
)
@Check(
  'disputes_withdrawn_in_parts',
  '(credit_micros IS NULL) = (fee_micros IS NULL) AND (withdrawn_at IS NULL OR credit_micros IS NOT NULL)',
)
@Check('disputes_reinstated_after_withdrawal', 'reinstated_at IS NULL OR withdrawn_at IS NOT NULL')
@ForeignKey('TopUpEntity', ['accountId', 'topUpId'], ['accountId', 'id'], { name: 'disputes_top_up_fkey' })
@Index('disputes_id_idx', ['id'])
@Index('disputes_top_up_idx', ['accountId', 'topUpId'])
export class DisputeEntity {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    primaryKeyConstraintName: 'disputes_pkey',
    collation: 'C',
  })
  accountId!: string;

  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'disputes_pkey', collation: 'C' })
  id!: string;

  @Column({ type: 'text', name: 'top_up_id', collation: 'C' })
  topUpId!: string;

  @Column({ type: 'text', collation: 'C' })
  status!: string;

  @Column({ type: 'text', collation: 'C' })
  reason!: string;

  @Column({ type: 'bigint', name: 'amount_cents', transformer: usdCentsColumn })
  amountCents!: UsdCents;

  @Column({ type: 'bigint', name: 'credit_micros', nullable: true, transformer: microUsdColumn })
  creditMicros!: MicroUsd | null;

  @Column({ type: 'bigint', name: 'fee_micros', nullable: true, transformer: microUsdColumn })
  feeMicros!: MicroUsd | null;

  @Column({ type: 'bigint', name: 'tax_micros', nullable: true, transformer: microUsdColumn })
  taxMicros!: MicroUsd | null;

  /** What it took beyond what was left of the payment. */
  @Column({ type: 'bigint', name: 'excess_micros', default: 0, transformer: microUsdColumn })
  excessMicros!: MicroUsd;

  @Column({ type: 'text', name: 'reinstatement_lot_id', collation: 'C' })
  reinstatementLotId!: string;

  @Column({ type: 'timestamptz', name: 'frozen_at', precision: 3, nullable: true })
  frozenAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'withdrawn_at', precision: 3, nullable: true })
  withdrawnAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'reinstated_at', precision: 3, nullable: true })
  reinstatedAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'checked_at', precision: 3 })
  checkedAt!: Date;
}

export type Dispute = Readonly<DisputeEntity>;
