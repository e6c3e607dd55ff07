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
import { WalletThresholdsService } from '../../money/wallets/wallet-thresholds.service.js';
import { AlertEmailsService } from './alert-emails.service.js';
import { TooManyConfirmationsError } from './alert.errors.js';
import { WalletAlertsEntity } from './wallet-alerts.entity.js';

/**
 * The threshold of an account that asks for alerts and names none: $2.00. That is fifty images, or two and a half minutes
 * of one caller who never pauses, so there is time to act. It is two fifths of the smallest top-up, so the smallest top-up
 * ends the alert. An account that asks for no alerts has no threshold and costs nothing.
 */
export const LOW_THRESHOLD_DEFAULT = micros(2_000_000n);

/** How many links a day an account may request, and one address gets from all accounts: the address may be a stranger's. */
export const CONFIRMATIONS_PER_ACCOUNT_MAX = 5;
export const CONFIRMATIONS_PER_ADDRESS_MAX = 3;
/** A request that is repeated because its answer was lost must not send a second mail. */
const CONFIRMATION_INTERVAL_MS = 5 * 60_000;

export type Alerts = {
  readonly thresholdMicros: MicroUsd | null;
  readonly email: string | null;
  readonly confirmed: boolean;
};

/** Undefined leaves a value unchanged, and null removes it. */
export type AlertChanges = {
  readonly thresholdMicros: MicroUsd | null | undefined;
  readonly email: string | null | undefined;
};

const ENSURE = 'INSERT INTO wallet_alerts (account_id) VALUES ($1) ON CONFLICT (account_id) DO NOTHING';

/** The settings for when and where an account is notified that its credit runs out. */
@Injectable()
export class WalletAlertsService {
  constructor(
    @InjectRepository(WalletAlertsEntity) private readonly rows: Repository<WalletAlertsEntity>,
    private readonly thresholds: WalletThresholdsService,
    private readonly emails: AlertEmailsService,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  async read(accountId: string): Promise<Alerts> {
    const row = await this.rows.findOneBy({ accountId });
    return {
      thresholdMicros: await this.thresholds.getLowThreshold(accountId),
      email: row?.email ?? null,
      confirmed: row !== null && row.emailConfirmedAt !== null,
    };
  }

  /**
   * Throws `InvalidRequestError` for an address when this service sends no mail, and `TooManyConfirmationsError`; then
   * nothing changed.
   */
  async update(accountId: string, { thresholdMicros, email }: AlertChanges, by: AuditActor): Promise<Alerts> {
    if (typeof email === 'string' && !this.emails.enabled) {
      throw new InvalidRequestError(
        'This service sends no e-mail. Nothing was changed. Use a webhook endpoint.',
        'email',
      );
    }
    await this.transactions.run(async (tx) => {
      const row = await this.lockOrInsert(tx, accountId);
      // Mail servers ignore the case of an address in practice, and the limits count by address.
      if (email !== undefined) await this.setEmail(tx, row, email?.toLowerCase() ?? null, actorName(by));
      // The address is not recorded, because audit entries are never deleted.
      await this.audit.record(tx, by, {
        act: 'alerts.changed',
        object: accountId,
        account: accountId,
        before: { has_email: row.email !== null, email_confirmed: row.emailConfirmedAt !== null },
        after: {
          ...(email === undefined
            ? {}
            : { has_email: email !== null, email_changed: !isSame(row.email, email) }),
          ...(thresholdMicros === undefined
            ? {}
            : { low_mark_micros: thresholdMicros === null ? null : formatMicros(thresholdMicros) }),
        },
      });
      // The wallet's row is locked last, as everywhere.
      if (thresholdMicros !== undefined) await this.setThreshold(tx, accountId, thresholdMicros);
      else if (typeof email === 'string') await this.applyDefaultThreshold(tx, row);
    }, by);
    return this.read(accountId);
  }

  /** Sets a threshold for an account that subscribes to `wallet.low`, because without one the event is never sent. */
  async ensureThreshold(tx: Tx, accountId: string): Promise<void> {
    await this.applyDefaultThreshold(tx, await this.lockOrInsert(tx, accountId));
  }

  private async applyDefaultThreshold(
    tx: Tx,
    { accountId, thresholdChosen }: WalletAlertsEntity,
  ): Promise<void> {
    if (!thresholdChosen) await this.setThreshold(tx, accountId, LOW_THRESHOLD_DEFAULT);
  }

  private async setThreshold(tx: Tx, accountId: string, threshold: MicroUsd | null): Promise<void> {
    await tx.update(WalletAlertsEntity, { accountId }, { thresholdChosen: true });
    await this.thresholds.setLowThreshold(tx, accountId, threshold);
  }

  private async setEmail(
    tx: Tx,
    row: WalletAlertsEntity,
    email: string | null,
    actor: string,
  ): Promise<void> {
    const { accountId } = row;
    if (email !== row.email) {
      const unconfirmed = { emailConfirmedAt: null, confirmHash: null, confirmExpiresAt: null };
      await tx.update(WalletAlertsEntity, { accountId }, { email, ...unconfirmed });
      if (row.email !== null && row.emailConfirmedAt !== null) {
        await this.emails.reportRemoval(tx, accountId, row.email, { removed_by: actor });
      }
    } else if (row.emailConfirmedAt !== null) return;
    if (email !== null) await this.requestConfirmation(tx, accountId, email);
  }

  private async requestConfirmation(tx: Tx, accountId: string, email: string): Promise<void> {
    const { ofAccount, ofAddress, lastAt } = await this.emails.lockAndCountConfirmations(
      tx,
      accountId,
      email,
    );
    if (lastAt !== null && this.clock.nowMs() - lastAt.getTime() < CONFIRMATION_INTERVAL_MS) return;
    if (ofAccount >= CONFIRMATIONS_PER_ACCOUNT_MAX) {
      throw new TooManyConfirmationsError(CONFIRMATIONS_PER_ACCOUNT_MAX);
    }
    if (ofAddress >= CONFIRMATIONS_PER_ADDRESS_MAX) {
      throw new TooManyConfirmationsError(CONFIRMATIONS_PER_ADDRESS_MAX);
    }
    await this.emails.addConfirmation(tx, accountId, email);
  }

  private async lockOrInsert(tx: Tx, accountId: string): Promise<WalletAlertsEntity> {
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
