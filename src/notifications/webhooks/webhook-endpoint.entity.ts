import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn } from 'typeorm';
import type { DisabledReason } from './webhook-endpoint.js';
import type { WebhookEventType } from '../event-types.js';

const PKEY = 'webhook_endpoints_pkey';

@Entity('webhook_endpoints')
@Index('webhook_endpoints_secret_key_idx', ['secretKeyId'], { where: 'secret_key_id IS NOT NULL' })
@Index('webhook_endpoints_previous_secret_key_idx', ['previousSecretKeyId'], {
  where: 'previous_secret_key_id IS NOT NULL',
})
@Check('webhook_endpoints_id_form', `id LIKE 'we\\_%'`)
@Check('webhook_endpoints_url_length', 'char_length(url) BETWEEN 1 AND 2000')
@Check('webhook_endpoints_events_some', 'cardinality(events) BETWEEN 1 AND 100')
@Check('webhook_endpoints_disabled_reason_known', `disabled_reason IN ('requested', 'gone', 'failing')`)
@Check('webhook_endpoints_disabled_with_reason', '(disabled_reason IS NULL) = (disabled_at IS NULL)')
@Check(
  'webhook_endpoints_secret_until_deleted',
  '(deleted_at IS NULL) = (secret_box IS NOT NULL) AND (secret_box IS NULL) = (secret_key_id IS NULL)',
)
@Check(
  'webhook_endpoints_previous_secret_whole',
  `num_nulls(previous_secret_box, previous_secret_key_id, previous_secret_expires_at) IN (0, 3)
    AND (deleted_at IS NULL OR previous_secret_box IS NULL)`,
)
@Check('webhook_endpoints_failing_whole', '(failing_since IS NULL) = (last_failed_at IS NULL)')
export class WebhookEndpointEntity {
  @PrimaryColumn({ type: 'text', name: 'account_id', collation: 'C', primaryKeyConstraintName: PKEY })
  @ForeignKey('AccountEntity', { name: 'webhook_endpoints_account_id_fkey' })
  accountId!: string;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: PKEY })
  id!: string;

  @Column('text')
  url!: string;

  @Column({ type: 'text', array: true })
  events!: WebhookEventType[];

  @Column({ type: 'text', name: 'disabled_reason', nullable: true, collation: 'C' })
  disabledReason!: DisabledReason | null;

  @Column({ type: 'timestamptz', name: 'disabled_at', precision: 3, nullable: true })
  disabledAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'deleted_at', precision: 3, nullable: true })
  deletedAt!: Date | null;

  /** Sealed, bound to this row. Null once the endpoint is deleted. */
  @Column({ type: 'bytea', name: 'secret_box', nullable: true })
  secretBox!: Buffer | null;

  @Column({ type: 'text', name: 'secret_key_id', nullable: true, collation: 'C' })
  secretKeyId!: string | null;

  @Column({ type: 'bytea', name: 'previous_secret_box', nullable: true })
  previousSecretBox!: Buffer | null;

  @Column({ type: 'text', name: 'previous_secret_key_id', nullable: true, collation: 'C' })
  previousSecretKeyId!: string | null;

  @Column({ type: 'timestamptz', name: 'previous_secret_expires_at', precision: 3, nullable: true })
  previousSecretExpiresAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'failing_since', precision: 3, nullable: true })
  failingSince!: Date | null;

  @Column({ type: 'timestamptz', name: 'last_failed_at', precision: 3, nullable: true })
  lastFailedAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;
}
