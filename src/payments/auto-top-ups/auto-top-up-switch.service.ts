import { Inject, Injectable } from '@nestjs/common';
import { toUnixSeconds, type Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { JobQueue } from '../../platform/jobs/job-queue.js';
import {
  WebhookEventsService,
  type WebhookData,
} from '../../notifications/webhooks/webhook-events.service.js';
import { AUTO_TOP_UP_JOB } from '../../money/wallets/signal-jobs.js';
import { WalletThresholdsService } from '../../money/wallets/wallet-thresholds.service.js';
import { toTopUpView } from '../top-ups/top-up.dto.js';
import type { TopUp } from '../top-ups/top-up.js';
import { canSwitch } from './auto-top-up.machine.js';
import { toTermsData } from './auto-top-up-event.dto.js';
import {
  OFF_REASONS,
  type AutoTopUp,
  type AutoTopUpTerms,
  type OffReason,
  type SavedCard,
} from './auto-top-up.js';
import { AutoTopUpRepository } from './auto-top-up.repository.js';

/** What is reported to the account about a charge that failed. */
export type FailureReport = {
  readonly topUp: TopUp;
  /** Where the customer pays instead. */
  readonly actionUrl: string | null;
  /** When the card is charged again; null when it is not. */
  readonly retryAt: Date | null;
};

/** What is reported to the account when its card may be charged more than before. */
export type Raise = {
  readonly before: AutoTopUp;
  readonly terms: AutoTopUpTerms;
  /** The revision of the new terms. */
  readonly revision: number;
  readonly card: SavedCard;
  readonly chargeCents: bigint | null;
  readonly actor: string;
};

/**
 * Moves an account's auto top-up from one status to another and publishes the event. The caller holds the lock of its
 * row. The wallet's threshold is set last, because wallets are locked after everything else.
 */
@Injectable()
export class AutoTopUpSwitchService {
  constructor(
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly repository: AutoTopUpRepository,
    private readonly jobs: JobQueue,
    private readonly events: WebhookEventsService,
    private readonly thresholds: WalletThresholdsService,
  ) {}

  /** Does nothing when auto top-up is off already, so that the first reason is kept. */
  async turnOff(tx: Tx, current: AutoTopUp, offReason: OffReason, topUp: TopUp | null = null): Promise<void> {
    if (!canSwitch(current.status, 'off')) return;
    await this.repository.update(tx, current, {
      status: 'off',
      offReason,
      failedTopUpId: null,
      actionTopUpId: null,
      updatedAt: this.now(),
    });
    await this.events.publish(tx, {
      accountId: current.accountId,
      type: 'auto_top_up.disabled',
      data: {
        object: 'auto_top_up',
        status: 'off',
        off_reason: offReason,
        message: OFF_REASONS[offReason],
        top_up: topUp?.id ?? null,
        livemode: current.livemode,
      },
      // Each revision is switched off at most once, because switching on starts a new revision.
      naturalKey: `${current.livemode ? 'live' : 'test'}:${current.revision}`,
    });
    await this.thresholds.setTopUpThreshold(tx, current.accountId, null);
  }

  /** Publishes one event for each time that the account agreed to more. */
  async reportRaise(tx: Tx, { before, terms, revision, card, chargeCents, actor }: Raise): Promise<void> {
    const { accountId, livemode, status } = before;
    await this.events.publish(tx, {
      accountId,
      type: 'auto_top_up.updated',
      data: {
        object: 'auto_top_up_change',
        status: 'on',
        changed_by: actor,
        card_last4: card.last4,
        charge_cents: chargeCents === null ? null : Number(chargeCents),
        ...toTermsData(terms),
        // Nothing was in force while it was off.
        previous: status === 'off' ? null : toTermsData(before),
        livemode,
      },
      naturalKey: `${livemode ? 'live' : 'test'}:${revision}`,
    });
  }

  /** The bank wants the customer to confirm. A job opens a payment page for them. */
  async requireAction(tx: Tx, current: AutoTopUp, topUp: TopUp): Promise<void> {
    if (!canSwitch(current.status, 'action_required')) return;
    await this.repository.update(tx, current, {
      status: 'action_required',
      failedTopUpId: topUp.id,
      actionTopUpId: null,
      updatedAt: this.now(),
    });
    await this.recheck(tx, current.accountId);
  }

  /** The customer has paid, or there is another card: charges continue as agreed, and the wallet is checked at once. */
  async resume(tx: Tx, current: AutoTopUp, cardId: string): Promise<void> {
    if (current.status === 'off') return;
    await this.repository.update(tx, current, {
      status: 'on',
      cardId,
      failedTopUpId: null,
      actionTopUpId: null,
      updatedAt: this.now(),
    });
    await this.recheck(tx, current.accountId);
  }

  /** Publishes one event for each charge. */
  async reportFailure(
    tx: Tx,
    current: AutoTopUp,
    { topUp, actionUrl, retryAt }: FailureReport,
  ): Promise<void> {
    const data: WebhookData = {
      object: 'auto_top_up_failure',
      top_up: { ...toTopUpView(topUp) },
      auto_top_up_status: current.status,
      off_reason: current.offReason,
      action_url: actionUrl,
      retry_at: retryAt === null ? null : toUnixSeconds(retryAt),
    };
    const { accountId, id: naturalKey } = topUp;
    await this.events.publish(tx, { accountId, type: 'auto_top_up.failed', data, naturalKey });
  }

  /** Queues a check of the wallet. A check with `runAt` replaces the later check that was queued before. */
  async recheck(tx: Tx | null, accountId: string, runAt: Date | null = null): Promise<void> {
    const options = {
      ...(tx === null ? {} : { tx }),
      ...(runAt === null ? {} : { runAt, jobKey: `auto_top_up_later:${accountId}` }),
    };
    await this.jobs.add(AUTO_TOP_UP_JOB, { account_id: accountId }, options);
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
