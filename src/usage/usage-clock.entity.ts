import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** Up to which time the calls that charged nothing are added up. */
@Entity('usage_clock')
@Check('usage_clock_one_row', `id = 'unpaid'`)
export class UsageClockEntity {
  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: 'usage_clock_pkey' })
  id!: string;

  @Column({ type: 'timestamptz', name: 'counted_until', precision: 3 })
  countedUntil!: Date;
}
