import { Check, Column, Entity, ForeignKey, PrimaryColumn } from 'typeorm';

@Entity('stripe_customers')
@Check('stripe_customers_generation_positive', 'generation > 0')
export class StripeCustomerEntity {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    primaryKeyConstraintName: 'stripe_customers_pkey',
    collation: 'C',
  })
  @ForeignKey('AccountEntity', { name: 'stripe_customers_account_id_fkey' })
  accountId!: string;

  @PrimaryColumn({ type: 'boolean', primaryKeyConstraintName: 'stripe_customers_pkey' })
  livemode!: boolean;

  @Column({ type: 'text', name: 'customer_id', collation: 'C' })
  customerId!: string;

  @Column('integer')
  generation!: number;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;
}
