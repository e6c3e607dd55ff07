import type { NewJob } from '../../platform/jobs/job-queue.js';
import type { BatchWrites, WalletSignal } from './rules/batch.js';

/** The module that handles a signal registers its job under this name. Payloads are hints, so handlers read the wallet again. */
export const AUTO_TOP_UP_JOB = 'auto_top_up';
export const WALLET_ALERT_JOB = 'wallet_alert';

/** The jobs for the signals of a batch. They are queued in its own tx, so a crash after the commit loses no signal. */
export function toSignalJobs({ signals, statusChanges }: BatchWrites, nowMs: number): NewJob[] {
  const findReason = (signal: WalletSignal): string | null =>
    signal.type === 'frozen'
      ? (statusChanges.findLast(({ accountId }) => accountId === signal.accountId)?.reason ?? null)
      : null;
  return signals.map((signal) => toJob(signal, findReason(signal), nowMs));
}

function toJob(signal: WalletSignal, reason: string | null, nowMs: number): NewJob {
  const { accountId, type, seq, balances } = signal;
  if (type === 'below_top_up_threshold') {
    return {
      name: AUTO_TOP_UP_JOB,
      jobKey: `${AUTO_TOP_UP_JOB}:${accountId}`,
      payload: { account_id: accountId },
    };
  }
  // The same level may be signalled twice at one `seq`, such as frozen, unfrozen and frozen again.
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
