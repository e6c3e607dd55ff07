import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('stripe_balance_cursors')
@Check('stripe_balance_cursors_window_whole', '(window_until IS NULL) = (after_id IS NULL)')
export class StripeBalanceCursorEntity {
  @PrimaryColumn({ type: 'boolean', primaryKeyConstraintName: 'stripe_balance_cursors_pkey' })
  livemode!: boolean;

  @Column({ type: 'timestamptz', name: 'complete_until', precision: 3 })
  completeUntil!: Date;

  @Column({ type: 'timestamptz', name: 'window_until', precision: 3, nullable: true })
  windowUntil!: Date | null;

  @Column({ type: 'text', name: 'after_id', nullable: true, collation: 'C' })
  afterId!: string | null;
}
