import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn, Unique } from 'typeorm';
import type { Scope } from '../auth/principal.js';

@Entity('api_keys')
@Unique('api_keys_secret_hash_key', ['secretHash'])
@Index('api_keys_account_id_idx', ['accountId', 'id'])
@Index('api_keys_created_by_idx', ['createdBy'], { where: 'created_by IS NOT NULL' })
@Check('api_keys_secret_hash_length', 'octet_length(secret_hash) = 32')
@Check('api_keys_name_length', 'char_length(name) BETWEEN 1 AND 200')
@Check('api_keys_duplicate_window_bounded', 'duplicate_window_seconds BETWEEN 0 AND 30')
@Check(
  'api_keys_scopes_of_kind',
  `cardinality(scopes) > 0 AND CASE WHEN account_id IS NULL
    THEN scopes <@ ARRAY['debits', 'finance', 'admin']
    ELSE scopes <@ ARRAY['generate', 'wallet:read', 'wallet:write', 'keys:write', 'cards:charge'] END`,
)
export class ApiKeyEntity {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'api_keys_pkey', collation: 'C' })
  id!: string;

  /** Null for an operator key, which acts on any account. */
  @Column({ type: 'text', name: 'account_id', nullable: true, collation: 'C' })
  @ForeignKey('AccountEntity', { name: 'api_keys_account_id_fkey' })
  accountId!: string | null;

  @Column('text')
  name!: string;

  @Column('text')
  hint!: string;

  @Column({ type: 'bytea', name: 'secret_hash' })
  secretHash!: Buffer;

  @Column({ type: 'text', array: true })
  scopes!: Scope[];

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'expires_at', precision: 3, nullable: true })
  expiresAt!: Date | null;

  @Column({ type: 'timestamptz', name: 'revoked_at', precision: 3, nullable: true })
  revokedAt!: Date | null;

  /** Exact to a minute or two; null when the key has not been used since this is recorded. */
  @Column({ type: 'timestamptz', name: 'last_used_at', precision: 3, nullable: true })
  lastUsedAt!: Date | null;

  /** The key or the service that made it, in the ledger's notation of actors; null if it was made before this was recorded. */
  @Column({ type: 'text', name: 'created_by', nullable: true, collation: 'C' })
  createdBy!: string | null;

  /** With 0, the same request sent twice is two calls. */
  @Column({ type: 'smallint', name: 'duplicate_window_seconds', default: 0 })
  duplicateWindowSeconds!: number;
}
