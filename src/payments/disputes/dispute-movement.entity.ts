import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn, Unique } from 'typeorm';
import type { MicroUsd, UsdCents } from '../../platform/common/money.js';
import { microUsdColumn, usdCentsColumn } from '../../platform/database/money-columns.js';

const PKEY = { primaryKeyConstraintName: 'dispute_movements_pkey' } as const;

/**
 * One time that Stripe took money of a dispute (below zero) or gave it back, in the order in which they are booked. With an amount
 * of 0, what the dispute took beyond its payment is not beyond it any more: see `partsOfCovered`.
 */
@Entity('dispute_movements')
@Check(
  'dispute_movements_amounts',
  `credit_micros + fee_micros + tax_micros + excess_micros = amount_cents * 10000
    AND credit_micros % 10000 = 0 AND fee_micros % 10000 = 0 AND tax_micros % 10000 = 0
    AND CASE sign(amount_cents)
          WHEN -1 THEN greatest(credit_micros, fee_micros, tax_micros, excess_micros) <= 0 AND lot_id IS NULL
          WHEN 1 THEN least(credit_micros, fee_micros, tax_micros, excess_micros) >= 0 AND lot_id IS NOT NULL
          ELSE greatest(credit_micros, fee_micros, tax_micros) <= 0 AND excess_micros > 0 AND lot_id IS NULL
               AND balance_transaction_id IS NULL END`,
)
@Unique('dispute_movements_reference_key', ['accountId', 'reference'])
@Unique('dispute_movements_balance_transaction_key', ['balanceTransactionId'])
@ForeignKey('DisputeEntity', ['accountId', 'disputeId'], ['accountId', 'id'], {
  name: 'dispute_movements_dispute_fkey',
})
@Index('dispute_movements_unbooked_idx', ['createdAt'], { where: 'booked_at IS NULL' })
export class DisputeMovementEntity {
  @PrimaryColumn({ type: 'text', name: 'account_id', collation: 'C', ...PKEY })
  accountId!: string;

  @PrimaryColumn({ type: 'text', name: 'dispute_id', collation: 'C', ...PKEY })
  disputeId!: string;

  @PrimaryColumn({ type: 'integer', ...PKEY })
  number!: number;

  /** Stripe's id. It is null in a row that an earlier release decided, until Stripe reports the movement again. */
  @Column({ type: 'text', name: 'balance_transaction_id', nullable: true, collation: 'C' })
  balanceTransactionId!: string | null;

  @Column({ type: 'bigint', name: 'amount_cents', transformer: usdCentsColumn })
  amountCents!: UsdCents;

  @Column({ type: 'bigint', name: 'credit_micros', transformer: microUsdColumn })
  creditMicros!: MicroUsd;

  @Column({ type: 'bigint', name: 'fee_micros', transformer: microUsdColumn })
  feeMicros!: MicroUsd;

  @Column({ type: 'bigint', name: 'tax_micros', transformer: microUsdColumn })
  taxMicros!: MicroUsd;

  @Column({ type: 'bigint', name: 'excess_micros', transformer: microUsdColumn })
  excessMicros!: MicroUsd;

  @Column({ type: 'text', collation: 'C' })
  reference!: string;

  /** The lot that returned credit becomes. It is chosen with the decision, so that a repeated booking names the same lot. */
  @Column({ type: 'text', name: 'lot_id', nullable: true, collation: 'C' })
  lotId!: string | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  /** When it was booked in the ledger; null until then. */
  @Column({ type: 'timestamptz', name: 'booked_at', precision: 3, nullable: true })
  bookedAt!: Date | null;
}

export type DisputeMovement = Readonly<DisputeMovementEntity>;
