import { Check, Column, Entity, PrimaryColumn, Unique } from 'typeorm';
import type { MicroUsd } from '../../platform/common/money.js';
import { microUsdColumn } from '../../platform/database/money-columns.js';

@Entity('prices')
@Unique('prices_model_version_key', ['model', 'version'])
@Check('prices_id_form', `id LIKE 'price\\_%'`)
@Check('prices_model_length', 'char_length(model) BETWEEN 1 AND 200')
@Check('prices_version_positive', 'version > 0')
@Check('prices_unit_known', `unit IN ('image')`)
@Check('prices_amount_bounded', 'amount_micros BETWEEN 0 AND 1000000000')
export class PriceEntity {
  @PrimaryColumn({ type: 'text', primaryKeyConstraintName: 'prices_pkey', collation: 'C' })
  id!: string;

  @Column({ type: 'text', collation: 'C' })
  model!: string;

  @Column('integer')
  version!: number;

  @Column({ type: 'text', collation: 'C' })
  unit!: 'image';

  @Column({ type: 'bigint', name: 'amount_micros', transformer: microUsdColumn })
  amountMicros!: MicroUsd;

  @Column({ type: 'timestamptz', name: 'effective_from', precision: 3 })
  effectiveFrom!: Date;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;
}
