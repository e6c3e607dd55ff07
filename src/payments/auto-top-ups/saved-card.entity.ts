import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn } from 'typeorm';
import type { SavedCard } from './auto-top-up.js';

const PKEY = 'saved_cards_pkey';

/** A card that Stripe stores for an account, and the consent to that. Its id is Stripe's. */
@Entity('saved_cards')
@ForeignKey('TopUpEntity', ['accountId', 'topUpId'], ['accountId', 'id'], { name: 'saved_cards_top_up_fkey' })
@Check('saved_cards_expiry_known', 'exp_month BETWEEN 1 AND 12 AND exp_year BETWEEN 2000 AND 9999')
@Index('saved_cards_id_idx', ['id'])
@Index('saved_cards_customer_id_idx', ['customerId'])
export class SavedCardEntity implements SavedCard {
  @PrimaryColumn({ type: 'text', name: 'account_id', primaryKeyConstraintName: PKEY, collation: 'C' })
  accountId!: string;

  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: PKEY, collation: 'C' })
  id!: string;

  @Column('boolean')
  livemode!: boolean;

  @Column({ type: 'text', name: 'customer_id', collation: 'C' })
  customerId!: string;

  @Column('text')
  brand!: string;

  @Column('text')
  last4!: string;

  @Column({ type: 'integer', name: 'exp_month' })
  expMonth!: number;

  @Column({ type: 'integer', name: 'exp_year' })
  expYear!: number;

  @Column({ type: 'text', name: 'top_up_id', collation: 'C' })
  topUpId!: string;

  @Column({ type: 'text', name: 'consent_version', collation: 'C' })
  consentVersion!: string;

  @Column({ type: 'text', name: 'consent_address', nullable: true, collation: 'C' })
  consentAddress!: string | null;

  @Column({ type: 'text', name: 'consented_by', collation: 'C' })
  consentedBy!: string;

  @Column({ type: 'timestamptz', name: 'consented_at', precision: 3 })
  consentedAt!: Date;

  @Column({ type: 'timestamptz', name: 'detached_at', precision: 3, nullable: true })
  detachedAt!: Date | null;
}
