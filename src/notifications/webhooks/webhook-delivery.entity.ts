import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn, Unique } from 'typeorm';
import type { AttemptError } from './delivery-rules.js';
import type { WebhookDeliveryStatus } from './webhook-delivery.machine.js';
import type { StoredEventType } from '../event-types.js';
import { WebhookEndpointEntity } from './webhook-endpoint.entity.js';
import { WebhookEventEntity } from './webhook-event.entity.js';

const PKEY = 'webhook_deliveries_pkey';

@Entity('webhook_deliveries')
@ForeignKey(() => WebhookEndpointEntity, ['accountId', 'endpointId'], ['accountId', 'id'], {
  name: 'webhook_deliveries_endpoint_fkey',
})
@ForeignKey(() => WebhookEventEntity, ['accountId', 'eventId'], ['accountId', 'id'], {
  name: 'webhook_deliveries_event_fkey',
})
@Unique('webhook_deliveries_event_endpoint_key', ['accountId', 'eventId', 'endpointId'])
@Index('webhook_deliveries_endpoint_idx', ['accountId', 'endpointId', 'id'])
@Index('webhook_deliveries_pending_idx', ['nextAttemptAt'], { where: `status = 'pending'` })
@Index('webhook_deliveries_created_at_idx', { synchronize: false })
@Check('webhook_deliveries_id_form', `id LIKE 'wd\\_%'`)
@Check('webhook_deliveries_status_known', `status IN ('pending', 'succeeded', 'failed', 'canceled')`)
@Check('webhook_deliveries_attempts_counted', 'attempts_before BETWEEN 0 AND attempts')
@Check('webhook_deliveries_pending_scheduled', `(status = 'pending') = (next_attempt_at IS NOT NULL)`)
@Check('webhook_deliveries_finished_once', `(status = 'pending') = (finished_at IS NULL)`)
@Check('webhook_deliveries_one_result', 'response_status IS NULL OR error IS NULL')
export class WebhookDeliveryEntity {
  @PrimaryColumn({ type: 'text', name: 'account_id', collation: 'C', primaryKeyConstraintName: PKEY })
  accountId!: string;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: PKEY })
  id!: string;

  @Column({ type: 'text', name: 'endpoint_id', collation: 'C' })
  endpointId!: string;

  @Column({ type: 'text', name: 'event_id', collation: 'C' })
  eventId!: string;

  @Column({ type: 'text', name: 'event_type', collation: 'C' })
  eventType!: StoredEventType;

  @Column({ type: 'text', collation: 'C' })
  status!: WebhookDeliveryStatus;

  @Column({ type: 'integer', default: 0 })
  attempts!: number;

  @Column({ type: 'integer', name: 'attempts_before', default: 0 })
  attemptsBefore!: number;

  @Column({ type: 'timestamptz', name: 'last_attempt_at', precision: 3, nullable: true })
  lastAttemptAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'next_attempt_at', precision: 3, nullable: true })
  nextAttemptAt!: Date | null;

  @Column({ type: 'integer', name: 'response_status', nullable: true })
  responseStatus!: number | null;

  @Column({ type: 'text', nullable: true, collation: 'C' })
  error!: AttemptError | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'finished_at', precision: 3, nullable: true })
  finishedAt!: Date | null;
}
