import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import { actorName, type AuditActor } from '../../identity/audit-log/audit-event.js';
import { AuditLog } from '../../identity/audit-log/audit-log.service.js';
import type { Clock } from '../../platform/common/clock.js';
import { formatMicros, micros, type MicroUsd } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { InvalidRequestError } from '../../platform/errors/common.errors.js';
import { WalletMarks } from '../../money/wallets/wallet-marks.service.js';
import { AlertEmails } from '../email/alert-emails.service.js';
import { TooManyConfirmationsError } from './alert.errors.js';
import { WalletAlertsEntity } from './wallet-alerts.entity.js';

/**
 * The low mark of an account that asks to be told and names none: $2.00. That is fifty images, two minutes and a half
 * of one caller who never pauses, so there is time to act; and two fifths of the smallest top-up, so that buying it
 * does not raise the alarm that it was to end. An account that asks for nothing has no mark and costs nothing.
 */
export const LOW_MARK_DEFAULT = micros(2_000_000n);

/** Links of a day that an account may have sent, and that one address gets whoever asks: it may be a stranger's. */
export const CONFIRMATIONS_PER_ACCOUNT_MAX = 5;
export const CONFIRMATIONS_PER_ADDRESS_MAX = 3;
/** A request that is sent again because its answer was lost is no second question. */
const ASK_AGAIN_AFTER_MS = 5 * 60_000;

export type Alerts = {
  readonly lowMarkMicros: MicroUsd | null;
  readonly email: string | null;
  readonly confirmed: boolean;
};

/** Undefined: as it is. Null: none. */
export type AlertChanges = {
  readonly lowMarkMicros: MicroUsd | null | undefined;
  readonly email: string | null | undefined;
};

const ENSURE = 'INSERT INTO wallet_alerts (account_id) VALUES ($1) ON CONFLICT (account_id) DO NOTHING';

/** When, and where, an account is told that its credit runs out. */
@Injectable()
export class WalletAlerts {
  constructor(
    @InjectRepository(WalletAlertsEntity) private readonly rows: Repository<WalletAlertsEntity>,
    private readonly marks: WalletMarks,
    private readonly emails: AlertEmails,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  async read(accountId: string): Promise<Alerts> {
    const row = await this.rows.findOneBy({ accountId });
    return {
      lowMarkMicros: await this.marks.lowMarkOf(accountId),
      email: row?.email ?? null,
      confirmed: row !== null && row.emailConfirmedAt !== null,
    };
  }

  /**
   * Throws `InvalidRequestError` for an address when this service sends no mail, and `TooManyConfirmationsError`; then
   * nothing changed.
   */
  async update(accountId: string, { lowMarkMicros, email }: AlertChanges, by: AuditActor): Promise<Alerts> {
    if (typeof email === 'string' && !this.emails.enabled) {
      throw new InvalidRequestError('This service sends no e-mail; use a webhook endpoint.', 'email');
    }
    await this.transactions.run(async (tx) => {
      const row = await this.requireLocked(tx, accountId);
      // Servers tell letters of another case apart in theory only, and the limits count by address.
      if (email !== undefined) await this.setEmail(tx, row, email?.toLowerCase() ?? null, actorName(by));
      // No address: what is recorded is never deleted.
      await this.audit.record(tx, by, {
        act: 'alerts.changed',
        object: accountId,
        account: accountId,
        before: { has_email: row.email !== null, email_confirmed: row.emailConfirmedAt !== null },
        after: {
          ...(email === undefined
            ? {}
            : { has_email: email !== null, email_changed: !isSame(row.email, email) }),
          ...(lowMarkMicros === undefined
            ? {}
            : { low_mark_micros: lowMarkMicros === null ? null : formatMicros(lowMarkMicros) }),
        },
      });
      // The wallet's row last, as everywhere.
      if (lowMarkMicros !== undefined) await this.choose(tx, accountId, lowMarkMicros);
      else if (typeof email === 'string') await this.defaultMark(tx, row);
    }, by);
    return this.read(accountId);
  }

  /** Somebody asks to be told when credit is low: without a mark that would be never. */
  async ensureMark(tx: Tx, accountId: string): Promise<void> {
    await this.defaultMark(tx, await this.requireLocked(tx, accountId));
  }

  private async defaultMark(tx: Tx, { accountId, lowMarkChosen }: WalletAlertsEntity): Promise<void> {
    if (!lowMarkChosen) await this.choose(tx, accountId, LOW_MARK_DEFAULT);
  }

  private async choose(tx: Tx, accountId: string, mark: MicroUsd | null): Promise<void> {
    await tx.update(WalletAlertsEntity, { accountId }, { lowMarkChosen: true });
    await this.marks.setLowMark(tx, accountId, mark);
  }

  private async setEmail(
    tx: Tx,
    row: WalletAlertsEntity,
    email: string | null,
    actor: string,
  ): Promise<void> {
    const { accountId } = row;
    if (email !== row.email) {
      const unasked = { emailConfirmedAt: null, confirmHash: null, confirmExpiresAt: null };
      await tx.update(WalletAlertsEntity, { accountId }, { email, ...unasked });
      if (row.email !== null && row.emailConfirmedAt !== null) {
        await this.emails.reportRemoval(tx, accountId, row.email, { removed_by: actor });
      }
    } else if (row.emailConfirmedAt !== null) return;
    if (email !== null) await this.askOnce(tx, accountId, email);
  }

  private async askOnce(tx: Tx, accountId: string, email: string): Promise<void> {
    const { ofAccount, ofAddress, lastAt } = await this.emails.countQuestionsLocked(tx, accountId, email);
    if (lastAt !== null && this.clock.nowMs() - lastAt.getTime() < ASK_AGAIN_AFTER_MS) return;
    if (ofAccount >= CONFIRMATIONS_PER_ACCOUNT_MAX) {
      throw new TooManyConfirmationsError(CONFIRMATIONS_PER_ACCOUNT_MAX);
    }
    if (ofAddress >= CONFIRMATIONS_PER_ADDRESS_MAX) {
      throw new TooManyConfirmationsError(CONFIRMATIONS_PER_ADDRESS_MAX);
    }
    await this.emails.ask(tx, accountId, email);
  }

  private async requireLocked(tx: Tx, accountId: string): Promise<WalletAlertsEntity> {
    await tx.query(ENSURE, [accountId]);
    return tx.findOneOrFail(WalletAlertsEntity, {
      where: { accountId },
      lock: { mode: 'for_no_key_update' },
    });
  }
}

function isSame(before: string | null, after: string | null): boolean {
  return before === (after?.toLowerCase() ?? null);
}
