import { Inject, Injectable } from '@nestjs/common';
import { MoreThan } from 'typeorm';
import { type Clock, DAY_MS } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { JobQueue } from '../../platform/jobs/job-queue.js';
import { WalletAlertsEntity } from './wallet-alerts.entity.js';
import type { EmailedEvent } from '../event-types.js';
import { AlertEmailEntity, type AlertEmail, type EmailKind } from './alert-email.entity.js';
import { MAIL_TRANSPORT, type MailTransport } from '../email/mail-transport.js';

export const ALERT_EMAIL_JOB = 'alert_email';

/** All mails share one queue, so a mail server that hangs occupies one worker and never two. */
const QUEUE = 'alert_emails';
/** Confirmations of one address are counted over all accounts, under one lock. No other lock may have this number. */
const CONFIRMATION_LOCK_CLASS = 4_711_012;

type PublishedEvent = { readonly accountId: string; readonly id: string; readonly type: EmailedEvent };

/** Queues mails: each is stored, with the job that sends it, in the tx that causes it. */
@Injectable()
export class AlertEmailsService {
  constructor(
    @Inject(MAIL_TRANSPORT) private readonly transport: MailTransport,
    private readonly jobs: JobQueue,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** False when this service sends no mail at all. */
  get enabled(): boolean {
    return this.transport.kind !== 'off';
  }

  /** Queues a mail about an event to the account's confirmed address, if it has one. */
  async addForEvent(tx: Tx, { accountId, id, type }: PublishedEvent, data: object): Promise<void> {
    if (!this.enabled) return;
    const alerts = await tx.findOneBy(WalletAlertsEntity, { accountId });
    if (alerts === null || alerts.email === null || alerts.emailConfirmedAt === null) return;
    await this.add(tx, accountId, { kind: type, eventId: id, address: alerts.email, data });
  }

  /** Asks an address whether it wants alerts. An address that has not confirmed gets no other mail. */
  addConfirmation(tx: Tx, accountId: string, address: string): Promise<void> {
    return this.add(tx, accountId, { kind: 'confirmation', eventId: null, address, data: {} });
  }

  /** Notifies a confirmed address that a key has removed it, because otherwise silence would look as if all were well. */
  async reportRemoval(tx: Tx, accountId: string, address: string, data: object): Promise<void> {
    if (this.enabled)
      await this.add(tx, accountId, { kind: 'address_removed', eventId: null, address, data });
  }

  /** Counts the confirmations of the last day, by account and by address over all accounts. Concurrent requests for the address wait. */
  async lockAndCountConfirmations(
    tx: Tx,
    accountId: string,
    address: string,
  ): Promise<{ readonly ofAccount: number; readonly ofAddress: number; readonly lastAt: Date | null }> {
    await tx.query('SELECT pg_advisory_xact_lock($1, hashtext($2))', [CONFIRMATION_LOCK_CLASS, address]);
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
      { tx, runAt, jobKey, queue: QUEUE },
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
