import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn } from 'typeorm';
import type { MicroUsd } from '../../common/money.js';
import { microUsdColumn } from '../../database/micro-usd-column.js';
import type { GenerationStatus } from '../generation.machine.js';
import type { RetryState } from './generation.js';
import type { Operation, ResponseFormat } from '../image-request.js';
import type { OutputFormat } from '../providers/image-provider.js';

@Entity('generations')
@ForeignKey('prices', ['priceId'], ['id'], { name: 'generations_price_id_fkey' })
@ForeignKey('ProviderKeyEntity', ['accountId', 'providerKeyId'], ['accountId', 'id'], {
  name: 'generations_provider_key_fkey',
})
@Index('generations_idempotency_key_idx', ['accountId', 'idempotencyKey'], {
  unique: true,
  where: `idempotency_key IS NOT NULL AND status <> 'failed'`,
})
@Index('generations_open_idx', ['leaseExpiresAt'], { where: `status IN ('running', 'unresolved')` })
@Index('generations_retry_idx', ['accountId', 'fingerprint'], { where: 'retry_state IS NOT NULL' })
@Index('generations_keyed_idx', ['createdAt'], { where: 'idempotency_key IS NOT NULL' })
@Index('generations_unpaid_idx', ['finishedAt', 'accountId'], {
  where: 'charged_micros = 0 AND finished_at IS NOT NULL',
})
@Check('generations_id_form', `id LIKE 'gen\\_%'`)
@Check('generations_status_known', `status IN ('running', 'unresolved', 'succeeded', 'failed')`)
@Check(
  'generations_images_bounded',
  'images_requested BETWEEN 1 AND 10 AND images_delivered BETWEEN 0 AND images_requested',
)
@Check('generations_size_positive', 'width > 0 AND height > 0')
@Check(
  'generations_formats_known',
  `response_format IN ('url', 'b64_json') AND output_format IN ('png', 'jpeg', 'webp')`,
)
@Check(
  'generations_charged_as_delivered',
  'charged_micros = CASE WHEN provider_key_id IS NULL THEN images_delivered * price_micros ELSE 0 END',
)
@Check('generations_success_delivers', `(status = 'succeeded') = (images_delivered > 0)`)
@Check('generations_failure_named', `(status = 'failed') <= (error_code IS NOT NULL)`)
@Check('generations_finished_once', `(status IN ('succeeded', 'failed')) = (finished_at IS NOT NULL)`)
@Check('generations_paid_or_free', '(hold_id IS NULL) = (price_micros = 0 OR provider_key_id IS NOT NULL)')
@Check('generations_fallback_is_ordinary', 'fell_back_from IS NULL OR provider_key_id IS NULL')
@Check('generations_operation_known', `operation IN ('generation', 'edit')`)
@Check(
  'generations_edit_has_references',
  `(operation = 'edit') = (references_count > 0) AND references_count BETWEEN 0 AND 16`,
)
@Check('generations_only_delivered_deleted', `images_deleted_at IS NULL OR status = 'succeeded'`)
@Check('generations_tag_length', 'length(tag) BETWEEN 1 AND 128')
@Check('generations_retry_state_known', `retry_state IN ('open', 'abandoned', 'claimed')`)
@Check(
  'generations_retry_claimed_by_one',
  `retry_state IS DISTINCT FROM 'claimed' OR (retry_claim IS NOT NULL AND retry_claim_expires_at IS NOT NULL)`,
)
@Check(
  'generations_retry_of_unkeyed',
  `retry_state IS NULL OR (idempotency_key IS NULL AND status <> 'failed')`,
)
@Check(
  'generations_text_length',
  'char_length(end_user) <= 512 AND char_length(idempotency_key) BETWEEN 1 AND 255',
)
export class GenerationEntity {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    collation: 'C',
    primaryKeyConstraintName: 'generations_pkey',
  })
  accountId!: string;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: 'generations_pkey' })
  id!: string;

  @Column({ type: 'text', name: 'api_key_id', collation: 'C' })
  apiKeyId!: string;

  @Column({ type: 'text', name: 'request_id', collation: 'C' })
  requestId!: string;

  @Column({ type: 'text', collation: 'C' })
  model!: string;

  @Column({ type: 'text', name: 'price_id', collation: 'C' })
  priceId!: string;

  @Column({ type: 'bigint', name: 'price_micros', transformer: microUsdColumn })
  priceMicros!: MicroUsd;

  @Column({ type: 'smallint', name: 'images_requested' })
  imagesRequested!: number;

  @Column({ type: 'integer' })
  width!: number;

  @Column({ type: 'integer' })
  height!: number;

  @Column({ type: 'text', name: 'response_format', collation: 'C' })
  responseFormat!: ResponseFormat;

  @Column({ type: 'text', name: 'output_format', collation: 'C' })
  outputFormat!: OutputFormat;

  @Column({ type: 'text', name: 'end_user', nullable: true })
  endUser!: string | null;

  @Column({ type: 'text', collation: 'C' })
  fingerprint!: string;

  @Column({ type: 'text', name: 'idempotency_key', collation: 'C', nullable: true })
  idempotencyKey!: string | null;

  @Column({ type: 'text', name: 'media_key_id', collation: 'C' })
  mediaKeyId!: string;

  @Column({ type: 'text', collation: 'C' })
  status!: GenerationStatus;

  @Column({ type: 'timestamptz', name: 'lease_expires_at', precision: 3 })
  leaseExpiresAt!: Date;

  @Column({ type: 'text', name: 'hold_id', collation: 'C', nullable: true })
  holdId!: string | null;

  @Column({ type: 'text', name: 'provider_key_id', collation: 'C', nullable: true })
  providerKeyId!: string | null;

  @Column({ type: 'text', name: 'fell_back_from', collation: 'C', nullable: true })
  fellBackFrom!: string | null;

  @Column({ type: 'text', collation: 'C', default: 'generation' })
  operation!: Operation;

  @Column({ type: 'smallint', name: 'references_count', default: 0 })
  referencesCount!: number;

  @Column({ type: 'text', collation: 'C', nullable: true })
  tag!: string | null;

  @Column({ type: 'text', name: 'retry_state', collation: 'C', nullable: true })
  retryState!: RetryState | null;

  @Column({ type: 'text', name: 'retry_claim', collation: 'C', nullable: true })
  retryClaim!: string | null;

  @Column({ type: 'timestamptz', name: 'retry_claim_expires_at', precision: 3, nullable: true })
  retryClaimExpiresAt!: Date | null;

  @Column({ type: 'smallint', name: 'images_delivered', default: 0 })
  imagesDelivered!: number;

  @Column({ type: 'bigint', name: 'charged_micros', default: 0, transformer: microUsdColumn })
  chargedMicros!: MicroUsd;

  @Column({ type: 'text', name: 'error_code', collation: 'C', nullable: true })
  errorCode!: string | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'authorized_at', precision: 3, nullable: true })
  authorizedAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'delivered_at', precision: 3, nullable: true })
  deliveredAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'finished_at', precision: 3, nullable: true })
  finishedAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'images_deleted_at', precision: 3, nullable: true })
  imagesDeletedAt!: Date | null;
}
