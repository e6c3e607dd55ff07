import { Column, Entity, PrimaryColumn } from 'typeorm';
import type { AuditDetails } from './audit-event.js';

/** Rows are written by `audit-statements.ts` only, and never changed. */
@Entity('audit_events')
export class AuditEventEntity {
  /** A decimal string: in the order of arrival. */
  @PrimaryColumn({ type: 'bigint' }) number!: string;
  @Column({ type: 'text' }) id!: string;
  @Column({ type: 'timestamptz', precision: 3 }) at!: Date;
  @Column({ type: 'text' }) actor!: string;
  @Column({ type: 'text' }) act!: string;
  @Column({ type: 'text', name: 'object_type' }) objectType!: string;
  @Column({ type: 'text', name: 'object_id' }) objectId!: string;
  @Column({ type: 'text', name: 'account_id', nullable: true }) accountId!: string | null;
  @Column({ type: 'jsonb', nullable: true }) before!: AuditDetails | null;
  @Column({ type: 'jsonb', nullable: true }) after!: AuditDetails | null;
  @Column({ type: 'text', nullable: true }) reason!: string | null;
  @Column({ type: 'text', name: 'request_id', nullable: true }) requestId!: string | null;
  @Column({ type: 'text', name: 'client_address', nullable: true }) clientAddress!: string | null;
}
