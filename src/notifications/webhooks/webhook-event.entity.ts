import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn, Unique } from 'typeorm';
import type { StoredEventType } from '../event-types.js';

const PKEY = 'webhook_events_pkey';

@Entity('webhook_events')
@Unique('webhook_events_natural_key_key', ['accountId', 'type', 'naturalKey'])
@Index('webhook_events_created_at_idx', { synchronize: false })
@Check('webhook_events_id_form', `id LIKE 'evt\\_%'`)
@Check('webhook_events_natural_key_length', 'char_length(natural_key) BETWEEN 1 AND 200')
@Check('webhook_events_body_size', 'octet_length(body) BETWEEN 1 AND 20000')
export class WebhookEventEntity {
  @PrimaryColumn({ type: 'text', name: 'account_id', collation: 'C', primaryKeyConstraintName: PKEY })
  @ForeignKey('AccountEntity', { name: 'webhook_events_account_id_fkey' })
  accountId!: string;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: PKEY })
  id!: string;

  @Column({ type: 'text', collation: 'C' })
  type!: StoredEventType;

  @Column({ type: 'text', name: 'natural_key', nullable: true, collation: 'C' })
  naturalKey!: string | null;

  @Column('text')
  body!: string;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;
}
