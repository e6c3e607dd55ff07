import { Inject, Injectable } from '@nestjs/common';
import { MoreThan } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import { DAY_MS } from '../../platform/common/utc-time.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { JobQueue } from '../../platform/jobs/job-queue.js';
import { WalletAlertsEntity } from '../alerts/wallet-alerts.entity.js';
import type { StoredEventType } from '../webhooks/webhook-event-types.js';
import { AlertEmailEntity, type AlertEmail } from './alert-email.entity.js';
import { isEmailed, type EmailKind } from './alert-email.js';
import { MAIL_TRANSPORT, type MailTransport } from './mail-transport.js';

export const ALERT_EMAIL_JOB = 'alert_email';

/** A mail server that hangs takes one worker, never two. */
const LINE = 'alert_emails';
/** Questions share one count per address over all accounts; the number only has to be ours alone. */
const QUESTION_LOCK_CLASS = 4_711_012;

type PublishedEvent = { readonly accountId: string; readonly id: string; readonly type: StoredEventType };

/** The mails that wait: written, with the job that sends them, in the tx that causes them. */
@Injectable()
export class AlertEmails {
  constructor(
    @Inject(MAIL_TRANSPORT) private readonly transport: MailTransport,
    private readonly jobs: JobQueue,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** False: this service sends no mail at all. */
  get enabled(): boolean {
    return this.transport.kind !== 'off';
  }

  /** A mail about an event, if it is one that people are told of, to an address that said yes. */
  async tell(tx: Tx, { accountId, id, type }: PublishedEvent, data: object): Promise<void> {
    if (!this.enabled || !isEmailed(type)) return;
    const alerts = await tx.findOneBy(WalletAlertsEntity, { accountId });
    if (alerts === null || alerts.email === null || alerts.emailConfirmedAt === null) return;
    await this.add(tx, accountId, { kind: type, eventId: id, address: alerts.email, data });
  }

  /** Asks an address whether it wants alerts. Nothing else ever goes to one that was not asked. */
  ask(tx: Tx, accountId: string, address: string): Promise<void> {
    return this.add(tx, accountId, { kind: 'confirmation', eventId: null, address, data: {} });
  }

  /** Tells an address that had said yes that a key has removed it: otherwise silence would look like good news. */
  async reportRemoval(tx: Tx, accountId: string, address: string, data: object): Promise<void> {
    if (this.enabled)
      await this.add(tx, accountId, { kind: 'address_removed', eventId: null, address, data });
  }

  /** Questions of the last day: the account's, and the address's over all accounts. Who else asks it waits. */
  async countQuestionsLocked(
    tx: Tx,
    accountId: string,
    address: string,
  ): Promise<{ readonly ofAccount: number; readonly ofAddress: number; readonly lastAt: Date | null }> {
    await tx.query('SELECT pg_advisory_xact_lock($1, hashtext($2))', [QUESTION_LOCK_CLASS, address]);
    const createdAt = MoreThan(new Date(this.clock.nowMs() - DAY_MS));
    const kind = 'confirmation';
    const last = await tx.findOne(AlertEmailEntity, {
      where: { accountId, kind, address },
      order: { id: 'DESC' },
    });
    return {
      ofAccount: await tx.countBy(AlertEmailEntity, { accountId, kind, createdAt }),
      ofAddress: await tx.countBy(AlertEmailEntity, { address, kind, createdAt }),
      lastAt: last?.createdAt ?? null,
    };
  }

  /** Queues the next attempt. */
  async schedule(
    tx: Tx,
    { accountId, id }: Pick<AlertEmail, 'accountId' | 'id'>,
    runAt: Date,
  ): Promise<void> {
    const jobKey = `${ALERT_EMAIL_JOB}:${id}`;
    await this.jobs.add(
      ALERT_EMAIL_JOB,
      { account_id: accountId, email_id: id },
      { tx, runAt, jobKey, queue: LINE },
    );
  }

  private async add(
    tx: Tx,
    accountId: string,
    mail: {
      readonly kind: EmailKind;
      readonly eventId: string | null;
      readonly address: string;
      readonly data: object;
    },
  ): Promise<void> {
    const now = new Date(this.clock.nowMs());
    const { kind, eventId, address } = mail;
    const row: AlertEmail = {
      accountId,
      id: newId('alertEmail'),
      kind,
      eventId,
      address,
      data: JSON.stringify(mail.data),
      status: 'pending',
      attempts: 0,
      nextAttemptAt: now,
      error: null,
      createdAt: now,
      finishedAt: null,
    };
    await tx.insert(AlertEmailEntity, { ...row });
    await this.schedule(tx, row, now);
  }
}
