import { hash } from 'node:crypto';
import { Inject, Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import type { Mailbox } from '../../platform/common/email-address.js';
import { SETTINGS, type Settings } from '../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import { payloadText, type Job, type JobPayload, JobRegistry } from '../../platform/jobs/job-queue.js';
import { AlertLinksService, CONFIRM_TTL_MS } from './alert-links.service.js';
import { WalletAlertsEntity } from './wallet-alerts.entity.js';
import { NotificationMetrics } from '../notifications.metrics.js';
import { AlertEmailEntity, type AlertEmail, isNotice } from './alert-email.entity.js';
import type { EmailStatus } from './alert-email.machine.js';
import { ALERT_EMAIL_JOB, AlertEmailsService } from './alert-emails.service.js';
import { renderEmail } from './alert-email-message.js';
import { nextEmailAttempt } from './alert-email.rules.js';
import {
  MAIL_TRANSPORT,
  MailNotSentError,
  SEND_TIMEOUT_MS,
  type Mail,
  type MailTransport,
} from '../email/mail-transport.js';

/** How long a worker has an attempt to itself. The transport ends every attempt before that. */
const CLAIM_MS = 2 * SEND_TIMEOUT_MS;
/** The sender of mails that are written to files because there is no mail server. */
const NO_SENDER: Mailbox = { name: 'Coffer', address: 'coffer@sandbox.invalid' };

/**
 * Sends one mail. Each attempt is claimed before it starts, so no two workers send the same mail. After a crash between the
 * server's acceptance and our commit the mail is sent once more with the same Message-ID, because SMTP has no better way.
 */
@Injectable()
export class AlertEmailJob implements Job, OnApplicationBootstrap {
  readonly name = ALERT_EMAIL_JOB;
  private readonly logger = new Logger('Mail');
  private readonly from: Mailbox;

  constructor(
    registry: JobRegistry,
    @InjectRepository(AlertEmailEntity) private readonly rows: Repository<AlertEmailEntity>,
    @Inject(MAIL_TRANSPORT) private readonly transport: MailTransport,
    @Inject(SETTINGS) private readonly settings: Settings,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly emails: AlertEmailsService,
    private readonly links: AlertLinksService,
    private readonly transactions: TransactionRunner,
    private readonly metrics: NotificationMetrics,
  ) {
    this.from = settings.mail?.from ?? NO_SENDER;
    registry.register(this);
  }

  /** Logs at start where mail is sent. */
  onApplicationBootstrap(): void {
    if (this.transport.kind === 'off') {
      this.logger.warn(
        { event: 'mail.disabled' },
        'SMTP_URL is not set, so no mail is sent and accounts cannot ask for alerts by e-mail',
      );
    } else if (this.transport.kind === 'file') {
      this.logger.log(
        { event: 'mail.written_to_files', folder: `${this.settings.dataDir}/mail` },
        'SMTP_URL is not set, so mail is written to files and not sent',
      );
    }
  }

  /** Throws what the database throws. When the mail server fails, the job succeeds, because the next attempt is a separate job. */
  async run(payload: JobPayload): Promise<void> {
    const name = { accountId: payloadText(payload, 'account_id'), id: payloadText(payload, 'email_id') };
    const email = await this.rows.findOneBy(name);
    if (email === null || email.status !== 'pending') return;
    if (!(await this.isWanted(email))) return this.end(email, 'canceled', null);
    if (!(await this.claim(email))) return;
    try {
      await this.transport.send(await this.compose(email));
    } catch (error) {
      if (!(error instanceof MailNotSentError)) throw error;
      return this.noteFailure(email, error);
    }
    await this.end(email, 'sent', null);
    this.metrics.emailAttempted('sent');
  }

  /**
   * Returns false when the mail is not due, because another worker is sending it or has just crashed while sending it. That
   * worker's claim has an end, and the mail is checked again then.
   */
  private claim({ accountId, id, attempts }: AlertEmail): Promise<boolean> {
    return this.transactions.run(async (tx) => {
      const lock = { mode: 'for_no_key_update' } as const;
      const email = await tx.findOne(AlertEmailEntity, { where: { accountId, id, status: 'pending' }, lock });
      if (email === null || email.nextAttemptAt === null || email.attempts !== attempts) return false;
      const nowMs = this.clock.nowMs();
      if (email.nextAttemptAt.getTime() > nowMs) {
        await this.emails.schedule(tx, email, email.nextAttemptAt);
        return false;
      }
      const claimed = { attempts: attempts + 1, nextAttemptAt: new Date(nowMs + CLAIM_MS) };
      await tx.update(AlertEmailEntity, { accountId, id }, claimed);
      return true;
    });
  }

  /** Returns false when the address was unsubscribed, replaced or (for a confirmation) confirmed since the mail was queued. */
  private async isWanted({ accountId, address, kind }: AlertEmail): Promise<boolean> {
    if (isNotice(kind)) return true;
    const alerts = await this.rows.manager.findOneBy(WalletAlertsEntity, { accountId });
    if (alerts === null || alerts.email !== address) return false;
    return kind === 'confirmation' ? alerts.emailConfirmedAt === null : alerts.emailConfirmedAt !== null;
  }

  private async compose(email: AlertEmail): Promise<Mail> {
    const { accountId, id, kind, eventId, address, createdAt } = email;
    const link =
      kind === 'confirmation'
        ? await this.createConfirmLink(email)
        : this.links.unsubscribe(accountId, address);
    const data = JSON.parse(email.data) as Record<string, unknown>;
    const { subject, text, html } = renderEmail({ kind, accountId, data, at: createdAt, link });
    const domain = this.from.address.split('@')[1] ?? '';
    return {
      id,
      messageId: `<${eventId ?? id}@${domain}>`,
      from: this.from,
      to: address,
      subject,
      text,
      html,
      date: createdAt,
      headers: {
        'Auto-Submitted': 'auto-generated',
        ...(kind === 'confirmation' || kind === 'address_removed'
          ? {}
          : { 'List-Unsubscribe': `<${link}>`, 'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click' }),
      },
    };
  }

  /** The link is created now, and only its hash is stored. Another attempt creates the same link and extends its validity. */
  private async createConfirmLink({ accountId, id, address: email }: AlertEmail): Promise<string> {
    const { url, token } = this.links.confirm(accountId, id);
    const facts = {
      confirmHash: Buffer.from(hash('sha256', token, 'hex'), 'hex'),
      confirmExpiresAt: new Date(this.clock.nowMs() + CONFIRM_TTL_MS),
    };
    await this.rows.manager.update(WalletAlertsEntity, { accountId, email }, facts);
    return url;
  }

  private async noteFailure(email: AlertEmail, error: MailNotSentError): Promise<void> {
    const attempts = email.attempts + 1;
    const next = nextEmailAttempt(error, attempts, this.clock.nowMs());
    this.metrics.emailAttempted(next === null ? 'failed' : 'retried');
    this.logger.warn(
      { event: 'mail.attempt_failed', email: email.id, code: error.code, nextAttemptAt: next },
      next === null
        ? 'A mail could not be sent and is given up'
        : 'A mail could not be sent; it is sent again later',
    );
    if (next === null) return this.end({ ...email, attempts }, 'failed', error.code);
    const { accountId, id } = email;
    await this.transactions.run(async (tx) => {
      const { affected } = await tx.update(
        AlertEmailEntity,
        { accountId, id, status: 'pending', attempts },
        { nextAttemptAt: next, error: error.code },
      );
      if (affected === 1) await this.emails.schedule(tx, email, next);
    });
  }

  /** A failure counts only while its attempt is the latest one. A success always counts, because the server has accepted the mail. */
  private async end(
    { accountId, id, attempts }: AlertEmail,
    status: EmailStatus,
    error: string | null,
  ): Promise<void> {
    const finishedAt = new Date(this.clock.nowMs());
    await this.rows.update(
      { accountId, id, status: 'pending', ...(status === 'failed' ? { attempts } : {}) },
      { status, error, nextAttemptAt: null, finishedAt },
    );
  }
}
