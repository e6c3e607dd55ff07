import { Check, Column, Entity, ForeignKey, PrimaryColumn } from 'typeorm';
import type { MicroUsd, UsdCents } from '../../platform/common/money.js';
import { microUsdColumn, usdCentsColumn } from '../../platform/database/money-columns.js';
import type { AutoTopUp, AutoTopUpConsent, OffReason } from './auto-top-up.js';
import type { AutoTopUpStatus } from './auto-top-up.machine.js';

/** The terms that the account agreed to. The settings and each consent have the same columns. */
abstract class TermsColumns {
  @Column({ type: 'text', name: 'card_id', collation: 'C' })
  cardId!: string;

  @Column({ type: 'bigint', name: 'threshold_micros', transformer: microUsdColumn })
  thresholdMicros!: MicroUsd;

  @Column({ type: 'bigint', name: 'amount_cents', transformer: usdCentsColumn })
  amountCents!: UsdCents;

  @Column({ type: 'integer', name: 'daily_max_count' })
  dailyMaxCount!: number;

  @Column({ type: 'bigint', name: 'daily_max_cents', transformer: usdCentsColumn })
  dailyMaxCents!: UsdCents;

  @Column({ type: 'integer', name: 'monthly_max_count' })
  monthlyMaxCount!: number;

  @Column({ type: 'bigint', name: 'monthly_max_cents', transformer: usdCentsColumn })
  monthlyMaxCents!: UsdCents;

  @Column({ type: 'integer', name: 'cooldown_seconds' })
  cooldownSeconds!: number;
}

@Entity('auto_top_ups')
@ForeignKey('SavedCardEntity', ['accountId', 'cardId'], ['accountId', 'id'], {
  name: 'auto_top_ups_card_fkey',
})
@Check('auto_top_ups_status_known', `status IN ('on', 'action_required', 'off')`)
@Check('auto_top_ups_off_for_a_reason', `(status = 'off') = (off_reason IS NOT NULL)`)
@Check(
  'auto_top_ups_action_after_failure',
  `(status = 'action_required') = (failed_top_up_id IS NOT NULL)
    AND (action_top_up_id IS NULL OR failed_top_up_id IS NOT NULL)`,
)
@Check('auto_top_ups_amounts', 'threshold_micros > 0 AND amount_cents > 0')
@Check(
  'auto_top_ups_caps_positive',
  `daily_max_count > 0 AND daily_max_cents > 0 AND monthly_max_count > 0 AND monthly_max_cents > 0
    AND cooldown_seconds > 0`,
)
export class AutoTopUpEntity extends TermsColumns implements AutoTopUp {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    primaryKeyConstraintName: 'auto_top_ups_pkey',
    collation: 'C',
  })
  @ForeignKey('AccountEntity', { name: 'auto_top_ups_account_id_fkey' })
  accountId!: string;

  @PrimaryColumn({ type: 'boolean', primaryKeyConstraintName: 'auto_top_ups_pkey' })
  livemode!: boolean;

  @Column({ type: 'text', collation: 'C' })
  status!: AutoTopUpStatus;

  @Column({ type: 'text', name: 'off_reason', nullable: true, collation: 'C' })
  offReason!: OffReason | null;

  @Column('integer')
  revision!: number;

  @Column({ type: 'timestamptz', name: 'switched_on_at', precision: 3 })
  switchedOnAt!: Date;

  @Column({ type: 'timestamptz', name: 'updated_at', precision: 3 })
  updatedAt!: Date;

  @Column({ type: 'text', name: 'failed_top_up_id', nullable: true, collation: 'C' })
  failedTopUpId!: string | null;

  @Column({ type: 'text', name: 'action_top_up_id', nullable: true, collation: 'C' })
  actionTopUpId!: string | null;
}

/** One consent of the account. Its row is never changed. */
@Entity('auto_top_up_consents')
@ForeignKey('AutoTopUpEntity', ['accountId', 'livemode'], ['accountId', 'livemode'], {
  name: 'auto_top_up_consents_auto_top_up_fkey',
})
export class AutoTopUpConsentEntity extends TermsColumns implements AutoTopUpConsent {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    primaryKeyConstraintName: 'auto_top_up_consents_pkey',
    collation: 'C',
  })
  accountId!: string;

  @PrimaryColumn({ type: 'boolean', primaryKeyConstraintName: 'auto_top_up_consents_pkey' })
  livemode!: boolean;

  @PrimaryColumn({ type: 'integer', primaryKeyConstraintName: 'auto_top_up_consents_pkey' })
  revision!: number;

  @Column({ type: 'text', collation: 'C' })
  version!: string;

  @Column({ type: 'text', name: 'agreed_by', collation: 'C' })
  agreedBy!: string;

  @Column({ type: 'text', name: 'client_address', collation: 'C' })
  clientAddress!: string;

  @Column({ type: 'timestamptz', name: 'agreed_at', precision: 3 })
  agreedAt!: Date;
}
