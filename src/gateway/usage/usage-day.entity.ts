import { Check, Column, Entity, PrimaryColumn } from 'typeorm';
import type { MicroUsd } from '../../platform/common/money.js';
import { microUsdColumn } from '../../platform/database/money-columns.js';

const PKEY = 'usage_days_pkey';

/** This class only exists so that the schema is compared with the code; the table is written and read by SQL. Empty text means "none". */
@Entity('usage_days')
@Check('usage_days_source_known', `source IN ('images_api', 'debits')`)
@Check('usage_days_billing_mode_known', `billing_mode IN ('wallet', 'byok', 'free')`)
@Check('usage_days_not_negative', 'calls >= 0 AND images >= 0 AND charged_micros >= 0')
@Check(
  'usage_days_only_wallets_are_charged',
  `charged_micros = 0 OR (billing_mode = 'wallet' AND error_code = '')`,
)
export class UsageDayEntity {
  @PrimaryColumn({ type: 'text', name: 'account_id', collation: 'C', primaryKeyConstraintName: PKEY })
  accountId!: string;

  @PrimaryColumn({ type: 'date', primaryKeyConstraintName: PKEY })
  day!: string;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: PKEY })
  source!: string;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: PKEY })
  model!: string;

  @PrimaryColumn({ type: 'text', name: 'api_key_id', collation: 'C', primaryKeyConstraintName: PKEY })
  apiKeyId!: string;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: PKEY })
  tag!: string;

  @PrimaryColumn({ type: 'text', name: 'billing_mode', collation: 'C', primaryKeyConstraintName: PKEY })
  billingMode!: string;

  @PrimaryColumn({ type: 'text', name: 'error_code', collation: 'C', primaryKeyConstraintName: PKEY })
  errorCode!: string;

  @Column({ type: 'bigint' })
  calls!: string;

  @Column({ type: 'bigint' })
  images!: string;

  @Column({ type: 'bigint', name: 'charged_micros', transformer: microUsdColumn })
  chargedMicros!: MicroUsd;
}
