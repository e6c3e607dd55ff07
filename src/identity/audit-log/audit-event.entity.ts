import { Check, Column, Entity, Index, PrimaryColumn, Unique } from 'typeorm';
import type { AuditDetails } from './audit-event.js';

/** Finds a number that is not whole or not exact in a double, and a member's name that is not ASCII. */
const ODD_SPELLING = `$.** ? (@.type() == "number" && (@ % 1 != 0 || @ > 9007199254740991 || @ < -9007199254740991)
           || @.type() == "object" && exists (@.keyvalue() ? (!(@.key like_regex "^[ -~]*$"))))`;

/** Only `audit-event.ts` writes rows, and they never change. */
@Entity('audit_events')
@Unique('audit_events_id_key', ['id'])
@Index('audit_events_account_idx', ['accountId', 'id'])
@Index('audit_events_actor_idx', ['actor', 'id'])
@Index('audit_events_act_idx', ['act', 'id'])
@Check('audit_events_act_form', `act ~ '^[a-z_]+\\.[a-z_]+$'`)
@Check(
  'audit_events_one_spelling',
  `NOT jsonb_path_exists(before, '${ODD_SPELLING}') AND NOT jsonb_path_exists(after, '${ODD_SPELLING}')`,
)
@Check(
  'audit_events_objects',
  `(before IS NULL OR jsonb_typeof(before) = 'object') AND (after IS NULL OR jsonb_typeof(after) = 'object')`,
)
export class AuditEventEntity {
  /** A decimal string that grows in the order of arrival. */
  @PrimaryColumn({ type: 'bigint', primaryKeyConstraintName: 'audit_events_pkey' }) number!: string;
  @Column({ type: 'text', collation: 'C' }) id!: string;
  @Column({
    type: 'timestamptz',
    precision: 3,
    default: () => `date_trunc('milliseconds', clock_timestamp())`,
  })
  at!: Date;
  @Column({ type: 'text', collation: 'C' }) actor!: string;
  @Column({ type: 'text', collation: 'C' }) act!: string;
  @Column({ type: 'text', collation: 'C', name: 'object_type' }) objectType!: string;
  @Column({ type: 'text', collation: 'C', name: 'object_id' }) objectId!: string;
  @Column({ type: 'text', collation: 'C', name: 'account_id', nullable: true }) accountId!: string | null;
  @Column({ type: 'jsonb', nullable: true }) before!: AuditDetails | null;
  @Column({ type: 'jsonb', nullable: true }) after!: AuditDetails | null;
  @Column({ type: 'text', nullable: true }) reason!: string | null;
  @Column({ type: 'text', collation: 'C', name: 'request_id', nullable: true }) requestId!: string | null;
  @Column({ type: 'text', collation: 'C', name: 'client_address', nullable: true }) clientAddress!:
    string | null;
}
