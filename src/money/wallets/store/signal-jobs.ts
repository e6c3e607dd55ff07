import type { StatementCall } from '../../../platform/database/pipeline.js';
import { addJobs, type NewJob } from '../../../platform/jobs/job-queue.js';
import type { BatchWrites } from '../rules/batch.js';
import type { WalletSignal } from '../rules/signals.js';

/** Whoever handles a signal registers its job under this name; payloads are hints, so handlers read again. */
export const AUTO_TOP_UP_JOB = 'auto_top_up';
export const WALLET_ALERT_JOB = 'wallet_alert';

/** Queues what a batch is worth telling in the batch's own tx: a crash after the commit loses no signal. */
export function jobsFor({ signals, statusChanges }: BatchWrites, nowMs: number): StatementCall[] {
  const reasonOf = (signal: WalletSignal): string | null =>
    signal.type === 'frozen'
      ? (statusChanges.findLast(({ accountId }) => accountId === signal.accountId)?.reason ?? null)
      : null;
  return addJobs(signals.map((signal) => jobOf(signal, reasonOf(signal), nowMs)));
}

function jobOf(signal: WalletSignal, reason: string | null, nowMs: number): NewJob {
  const { accountId, type, seq, balances } = signal;
  if (type === 'below_top_up_mark') {
    return {
      name: AUTO_TOP_UP_JOB,
      jobKey: `${AUTO_TOP_UP_JOB}:${accountId}`,
      payload: { account_id: accountId },
    };
  }
  // The same level may be told twice at one place of the chain, such as frozen, thawed and frozen again.
  const key = `${type}:${accountId}:${seq}:${nowMs}`;
  return {
    name: WALLET_ALERT_JOB,
    jobKey: `${WALLET_ALERT_JOB}:${key}`,
    payload: {
      key,
      account_id: accountId,
      alert: type,
      seq,
      posted_micros: balances.postedMicros.toString(),
      available_micros: balances.availableMicros.toString(),
      at_ms: nowMs,
      reason,
    },
  };
}
