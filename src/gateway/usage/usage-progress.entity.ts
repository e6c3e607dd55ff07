import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** The last transfer of an account whose charge is added up. */
@Entity('usage_progress')
@Check('usage_progress_seq_not_negative', 'seq >= 0')
export class UsageProgressEntity {
  @PrimaryColumn({
    type: 'text',
    name: 'account_id',
    collation: 'C',
    primaryKeyConstraintName: 'usage_progress_pkey',
  })
  accountId!: string;

  @Column({ type: 'bigint', default: 0 })
  seq!: string;
}
