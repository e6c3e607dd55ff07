import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn } from 'typeorm';
import type { MicroUsd } from '../../../../platform/common/money.js';
import { microUsdColumn } from '../../../../platform/database/money-columns.js';
import type { GenerationStatus } from '../generation.machine.js';
import type { RetryState } from './generation.js';
import type { Operation, ResponseFormat } from '../image-request.js';
import type { OutputFormat } from '../../providers/image-provider.js';

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
@Check('generations_rules_kept', 'generation_rules_kept(generations)')
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

  @Column({ type: 'text', name: 'output_format', collation: 'C', nullable: true })
  outputFormat!: OutputFormat | null;

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

  @Column({ type: 'smallint', name: 'last_attempt', nullable: true })
  lastAttempt!: number | null;

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
