import { Check, Column, Entity, ForeignKey, Index, PrimaryColumn, Unique } from 'typeorm';
import type { EmailedEvent } from '../event-types.js';
import type { EmailStatus } from './alert-email.machine.js';

const PKEY = 'alert_emails_pkey';

/** A mail on its way to somebody. */
@Entity('alert_emails')
@Unique('alert_emails_event_key', ['accountId', 'eventId'])
@Index('alert_emails_questions_idx', ['address', 'createdAt'], { where: `kind = 'confirmation'` })
@Index('alert_emails_pending_idx', ['nextAttemptAt'], { where: `status = 'pending'` })
@Index('alert_emails_created_at_idx', { synchronize: false })
@Check('alert_emails_id_form', `id LIKE 'eml\\_%'`)
@Check('alert_emails_event_of_alerts', `(event_id IS NULL) = (kind IN ('confirmation', 'address_removed'))`)
@Check('alert_emails_data_size', 'octet_length(data) BETWEEN 1 AND 20000')
@Check('alert_emails_status_known', `status IN ('pending', 'sent', 'failed', 'canceled')`)
@Check('alert_emails_attempts_counted', 'attempts >= 0')
@Check('alert_emails_pending_scheduled', `(status = 'pending') = (next_attempt_at IS NOT NULL)`)
@Check('alert_emails_finished_once', `(status = 'pending') = (finished_at IS NULL)`)
export class AlertEmailEntity {
  @PrimaryColumn({ type: 'text', name: 'account_id', collation: 'C', primaryKeyConstraintName: PKEY })
  @ForeignKey('AccountEntity', { name: 'alert_emails_account_id_fkey' })
  accountId!: string;

  @PrimaryColumn({ type: 'text', collation: 'C', primaryKeyConstraintName: PKEY })
  id!: string;

  @Column({ type: 'text', collation: 'C' })
  kind!: EmailKind;

  @Column({ type: 'text', name: 'event_id', nullable: true, collation: 'C' })
  eventId!: string | null;

  @Column('text')
  address!: string;

  /** JSON: the event's data. */
  @Column('text')
  data!: string;

  @Column({ type: 'text', collation: 'C' })
  status!: EmailStatus;

  @Column({ type: 'integer', default: 0 })
  attempts!: number;

  @Column({ type: 'timestamptz', name: 'next_attempt_at', precision: 3, nullable: true })
  nextAttemptAt!: Date | null;

  @Column({ type: 'text', nullable: true, collation: 'C' })
  error!: string | null;

  @Column({ type: 'timestamptz', name: 'created_at', precision: 3 })
  createdAt!: Date;

  @Column({ type: 'timestamptz', name: 'finished_at', precision: 3, nullable: true })
  finishedAt!: Date | null;
}

export type AlertEmail = Readonly<AlertEmailEntity>;

/** `confirmation` asks an address whether it wants alerts, and `address_removed` says that it gets no more of them. */
export type EmailKind = EmailedEvent | 'confirmation' | 'address_removed';

/**
 * Mails that a thief of a key would like to stop. They go to the address that was confirmed when they were queued, even if a
 * key has changed the alerts since.
 */
export function isNotice(kind: EmailKind): boolean {
  return kind === 'auto_top_up.updated' || kind === 'address_removed';
}
