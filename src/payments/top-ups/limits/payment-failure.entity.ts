import { Column, Entity, ForeignKey, Index, PrimaryColumn } from 'typeorm';

const PKEY = 'payment_failures_pkey';

/** One attempt to pay that was refused. */
@Entity('payment_failures')
@ForeignKey('TopUpEntity', ['accountId', 'topUpId'], ['accountId', 'id'], {
  name: 'payment_failures_top_up_fkey',
})
@Index('payment_failures_account_idx', ['accountId', 'failedAt'])
@Index('payment_failures_address_idx', ['clientAddress', 'failedAt'], { where: 'client_address IS NOT NULL' })
export class PaymentFailureEntity {
  @PrimaryColumn({ type: 'text', name: 'account_id', primaryKeyConstraintName: PKEY, collation: 'C' })
  accountId!: string;

  @PrimaryColumn({ type: 'text', name: 'charge_id', primaryKeyConstraintName: PKEY, collation: 'C' })
  chargeId!: string;

  @Column({ type: 'text', name: 'top_up_id', collation: 'C' })
  topUpId!: string;

  @Column({ type: 'text', name: 'client_address', nullable: true, collation: 'C' })
  clientAddress!: string | null;

  @Column({ type: 'text', nullable: true, collation: 'C' })
  reason!: string | null;

  @Column({ type: 'timestamptz', name: 'failed_at', precision: 3 })
  failedAt!: Date;
}
