import { Check, Column, Entity, Index, PrimaryColumn } from 'typeorm';

@Entity('stripe_events')
@Check('stripe_events_id_form', `id LIKE 'evt\\_%'`)
@Check('stripe_events_attempts_not_negative', 'attempts >= 0')
@Check('stripe_events_outcome_known', `outcome IN ('handled', 'ignored')`)
@Check('stripe_events_processed_once', '(outcome IS NULL) = (processed_at IS NULL)')
@Index('stripe_events_waiting_idx', ['receivedAt'], { where: 'processed_at IS NULL' })
export class StripeEventEntity {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'stripe_events_pkey', collation: 'C' })
  id!: string;

  @Column({ type: 'text', collation: 'C' })
  type!: string;

  @Column({ type: 'text', name: 'object_id', nullable: true, collation: 'C' })
  objectId!: string | null;

  @Column('boolean')
  livemode!: boolean;

  /** Not loaded with the row, because it may be large and only people read it. */
  @Column({ type: 'json', select: false })
  payload!: unknown;

  @Column({ type: 'timestamptz', name: 'received_at', precision: 3 })
  receivedAt!: Date;

  @Column({ type: 'integer', default: 0 })
  attempts!: number;

  @Column({ type: 'text', name: 'last_error', nullable: true })
  lastError!: string | null;

  @Column({ type: 'text', nullable: true, collation: 'C' })
  outcome!: 'handled' | 'ignored' | null;

  @Column({ type: 'timestamptz', name: 'processed_at', precision: 3, nullable: true })
  processedAt!: Date | null;
}
