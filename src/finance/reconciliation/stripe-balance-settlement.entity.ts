import { Check, Column, Entity, ForeignKey, PrimaryColumn } from 'typeorm';

const PKEY = { primaryKeyConstraintName: 'stripe_balance_settlements_pkey' } as const;

/** One decision about money that Stripe moved and that cannot be booked: by whom, when and why. Rows are never changed, and the newest counts. */
@Entity('stripe_balance_settlements')
@ForeignKey('StripeBalanceTransactionEntity', ['balanceTransactionId'], ['id'], {
  name: 'stripe_balance_settlements_transaction_fkey',
})
@Check(
  'stripe_balance_settlements_text_length',
  'char_length(reason) BETWEEN 1 AND 500 AND char_length(settled_by) BETWEEN 1 AND 300',
)
export class StripeBalanceSettlementEntity {
  @PrimaryColumn({ type: 'text', name: 'balance_transaction_id', collation: 'C', ...PKEY })
  balanceTransactionId!: string;

  @PrimaryColumn({ type: 'integer', ...PKEY })
  number!: number;

  /** The account in whose book it would be. */
  @Column({ type: 'text', name: 'account_id', collation: 'C' })
  accountId!: string;

  /** The reference of the correction in that book; null when none was needed. */
  @Column({ type: 'text', name: 'settled_by', nullable: true, collation: 'C' })
  settledBy!: string | null;

  @Column({ type: 'text', collation: 'C' })
  actor!: string;

  @Column('text')
  reason!: string;

  @Column({ type: 'timestamptz', name: 'decided_at', precision: 3 })
  decidedAt!: Date;
}

export type StripeBalanceSettlement = Readonly<StripeBalanceSettlementEntity>;
