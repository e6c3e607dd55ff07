import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

const PKEY = 'stripe_event_cursors_pkey';

@Entity('stripe_event_cursors')
@Check('stripe_event_cursors_window_whole', '(window_until IS NULL) = (after_id IS NULL)')
export class StripeEventCursorEntity {
  @PrimaryColumn({ type: 'boolean', primaryKeyConstraintName: PKEY })
  livemode!: boolean;

  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: PKEY, collation: 'C' })
  type!: string;

  @Column({ type: 'timestamptz', name: 'complete_until', precision: 3 })
  completeUntil!: Date;

  @Column({ type: 'timestamptz', name: 'window_until', precision: 3, nullable: true })
  windowUntil!: Date | null;

  @Column({ type: 'text', name: 'after_id', nullable: true, collation: 'C' })
  afterId!: string | null;
}
