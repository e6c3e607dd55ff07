import { Injectable } from '@nestjs/common';
import { formatMicros, micros, type MicroUsd } from '../platform/common/money.js';
import { payloadText, type Job, type JobPayload, JobRegistry } from '../platform/jobs/job-queue.js';
import { WALLET_ALERT_JOB } from '../money/wallets/signal-jobs.js';
import { WalletThresholdsService } from '../money/wallets/wallet-thresholds.service.js';
import { WalletReaderService, type WalletSnapshot } from '../money/wallets/wallet-reader.service.js';
import { WebhookEventsService } from './webhooks/webhook-events.service.js';
import type { WebhookEventType } from './event-types.js';
import type { WalletAlertView } from './alerts/wallet-alerts.dto.js';

const EVENTS: Readonly<Record<string, WebhookEventType>> = {
  low: 'wallet.low',
  depleted: 'wallet.depleted',
  frozen: 'wallet.frozen',
};

/**
 * Publishes an alert that the wallet signalled in an earlier commit. The wallet is read again first, because an alert about
 * credit that has been topped up in the meantime would be a false alarm.
 */
@Injectable()
export class WalletAlertJob implements Job {
  readonly name = WALLET_ALERT_JOB;

  constructor(
    registry: JobRegistry,
    private readonly wallets: WalletReaderService,
    private readonly thresholds: WalletThresholdsService,
    private readonly events: WebhookEventsService,
  ) {
    registry.register(this);
  }

  async run(payload: JobPayload): Promise<void> {
    const accountId = payloadText(payload, 'account_id');
    const alert = payloadText(payload, 'alert');
    const type = EVENTS[alert];
    // A newer version of this service queued this alert, and that version runs the job.
    if (type === undefined) throw new TypeError(`there is no wallet alert '${alert}'`);
    const wallet = await this.wallets.read(accountId);
    const threshold = await this.thresholds.getLowThreshold(accountId);
    if (!isStillTrue(alert, wallet, threshold, micros(BigInt(payloadText(payload, 'posted_micros'))))) return;
    const reason = payload['reason'];
    const data: WalletAlertView = {
      object: 'wallet_alert',
      account: accountId,
      status: wallet.status,
      posted_micros: wallet.posted,
      available_micros: wallet.available,
      low_balance_micros: threshold === null ? null : formatMicros(threshold),
      reason: alert === 'frozen' && typeof reason === 'string' ? reason : null,
    };
    const naturalKey = payloadText(payload, 'key');
    await this.events.publish(null, { accountId, type, data: { ...data }, naturalKey });
  }
}

function isStillTrue(
  alert: string,
  { status, posted }: WalletSnapshot,
  threshold: MicroUsd | null,
  postedThen: MicroUsd,
): boolean {
  const postedNow = BigInt(posted);
  switch (alert) {
    case 'low':
      return threshold !== null && postedNow < threshold;
    case 'depleted':
      return postedNow <= postedThen;
    default:
      return status === 'frozen';
  }
}
