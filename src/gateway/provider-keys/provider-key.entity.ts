import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn } from 'typeorm';
import type { KeyedProvider, RemovedReason } from './provider-key.js';

const PKEY = 'provider_keys_pkey';

@Entity('provider_keys')
@Index('provider_keys_live_idx', ['accountId', 'provider'], { unique: true, where: 'removed_at IS NULL' })
@Index('provider_keys_master_key_idx', ['masterKeyId', 'accountId', 'id'], {
  where: 'ciphertext IS NOT NULL',
})
@Index('provider_keys_unerased_idx', ['removedAt'], {
  where: 'removed_at IS NOT NULL AND ciphertext IS NOT NULL',
})
@Check('provider_keys_id_form', `id LIKE 'pk\\_%'`)
@Check('provider_keys_last_four_length', 'char_length(last_four) = 4')
@Check('provider_keys_sealed_whole', 'num_nulls(ciphertext, wrapped_key, master_key_id) IN (0, 3)')
@Check('provider_keys_sealed_while_live', 'removed_at IS NOT NULL OR ciphertext IS NOT NULL')
@Check('provider_keys_removed_whole', 'num_nulls(removed_at, removed_by, removed_reason) IN (0, 3)')
@Check('provider_keys_removed_reason_known', `removed_reason IN ('deleted', 'replaced')`)
export class ProviderKeyEntity {
  @PrimaryColumn({ type: 'text', name: 'account_id', collation: 'C', primaryKeyConstraintName: PKEY })
  @ForeignKey('AccountEntity', { name: 'provider_keys_account_id_fkey' })
  accountId!: string;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: PKEY })
  id!: string;

  @Column({ type: 'text', collation: 'C' })
  provider!: KeyedProvider;

  @Column({ type: 'text', name: 'last_four', collation: 'C' })
  lastFour!: string;

  @Column({ type: 'boolean', name: 'fall_back_to_wallet' })
  fallBackToWallet!: boolean;

  @Column({ type: 'bytea', nullable: true })
  ciphertext!: Buffer | null;

  @Column({ type: 'bytea', name: 'wrapped_key', nullable: true })
  wrappedKey!: Buffer | null;

  @Column({ type: 'text', name: 'master_key_id', nullable: true, collation: 'C' })
  masterKeyId!: string | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'text', name: 'attached_by', collation: 'C' })
  attachedBy!: string;

  @Column({ type: 'timestamptz', name: 'removed_at', precision: 3, nullable: true })
  removedAt!: Date | null;

  @Column({ type: 'text', name: 'removed_by', nullable: true, collation: 'C' })
  removedBy!: string | null;

  @Column({ type: 'text', name: 'removed_reason', nullable: true, collation: 'C' })
  removedReason!: RemovedReason | null;
}
