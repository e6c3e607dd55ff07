import type { Outlook } from './retry-claims.service.js';

/**
 * A call whose row is not written this long after its hold is taken for dead. Normally the provider names a task within a second or
 * two, which writes the row.
 */
export const UNWRITTEN_MS = 10_000;

/** What a retry knows that has found no attempt to claim. */
export type Situation = {
  readonly outlook: Outlook;
  /** 1 for a call's first retry. */
  readonly retryCount: number;
  /** How many attempts at the same call are running in this process. */
  readonly underWay: number;
  /** When the claims of other retries expire that existed at first. Until then one of them may still become free. */
  readonly othersUntilMs: number | null;
  readonly nowMs: number;
};

export type RetryStep =
  | { readonly type: 'claim_again' }
  | { readonly type: 'wait' }
  /** The earlier attempt's process seems dead. Once its hold is void it charges nothing, dead or not. */
  | { readonly type: 'void'; readonly holdId: string }
  /** There is no earlier attempt, so this one runs. */
  | { readonly type: 'run' };

/** Decides what a retry does next. Pure. */
export function nextRetryStep(situation: Situation): RetryStep {
  const { outlook, retryCount, underWay, othersUntilMs, nowMs } = situation;
  if (outlook.claimable) return { type: 'claim_again' };
  // An attempt in this process has no row yet. It will be written, or it will end without a charge.
  if (outlook.written < underWay) return { type: 'wait' };
  if (outlook.unwritten !== null) {
    const isDead = nowMs - outlook.unwritten.heldAtMs >= UNWRITTEN_MS;
    return isDead ? { type: 'void', holdId: outlook.unwritten.holdId } : { type: 'wait' };
  }
  // The process of the first retry may have died. Its claim has not expired yet when the second retry arrives.
  if (retryCount > 1 && othersUntilMs !== null && nowMs < othersUntilMs) return { type: 'wait' };
  return { type: 'run' };
}
