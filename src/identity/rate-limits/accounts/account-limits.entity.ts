import { Check, Column, Entity, ForeignKey, PrimaryColumn } from 'typeorm';

/** One change; the newest one of an account applies. */
@Entity('account_limits')
@Check('account_limits_version_positive', 'version > 0')
@Check(
  'account_limits_positive',
  'requests_per_minute > 0 AND images_per_minute > 0 AND concurrent_requests > 0',
)
@Check('account_limits_reason_length', 'char_length(reason) BETWEEN 1 AND 200')
export class AccountLimitsEntity {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    primaryKeyConstraintName: 'account_limits_pkey',
    collation: 'C',
  })
  @ForeignKey('AccountEntity', { name: 'account_limits_account_id_fkey' })
  accountId!: string;

  @PrimaryColumn({ type: 'integer', primaryKeyConstraintName: 'account_limits_pkey' })
  version!: number;

  @Column({ type: 'integer', name: 'requests_per_minute', nullable: true })
  requestsPerMinute!: number | null;

  @Column({ type: 'integer', name: 'images_per_minute', nullable: true })
  imagesPerMinute!: number | null;

  @Column({ type: 'integer', name: 'concurrent_requests', nullable: true })
  concurrentRequests!: number | null;

  @Column('text')
  reason!: string;

  /** The actor in the ledger's notation. */
  @Column({ type: 'text', name: 'set_by', collation: 'C' })
  setBy!: string;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;
}
