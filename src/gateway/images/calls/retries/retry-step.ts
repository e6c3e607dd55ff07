import type { Outlook } from './retry-claims.service.js';

/**
 * A call whose row is not written that long after its hold is taken for dead. The provider names a task within a second
 * or two, and that writes the row.
 */
export const UNWRITTEN_MS = 10_000;

/** What a retry knows that has found nothing to claim. */
export type Situation = {
  readonly outlook: Outlook;
  /** 1 for a call's first retry. */
  readonly retryCount: number;
  /** Attempts at the same call under way in this process. */
  readonly underWay: number;
  /** Until when what other retries had claimed at first may turn out to be nobody's. */
  readonly othersUntilMs: number | null;
  readonly nowMs: number;
};

export type RetryStep =
  | { readonly type: 'claim_again' }
  | { readonly type: 'wait' }
  /** The earlier attempt's process seems dead. Without its hold it charges nothing, dead or not. */
  | { readonly type: 'void'; readonly holdId: string }
  /** There is no earlier attempt: this one runs. */
  | { readonly type: 'run' };

/** Pure. */
export function nextRetryStep(situation: Situation): RetryStep {
  const { outlook, retryCount, underWay, othersUntilMs, nowMs } = situation;
  if (outlook.claimable) return { type: 'claim_again' };
  // In this process: it will be written, or end without a charge.
  if (outlook.written < underWay) return { type: 'wait' };
  if (outlook.unwritten !== null) {
    const isDead = nowMs - outlook.unwritten.heldAtMs >= UNWRITTEN_MS;
    return isDead ? { type: 'void', holdId: outlook.unwritten.holdId } : { type: 'wait' };
  }
  // A call's second retry may come while the claim of its first, whose process died, still counts.
  if (retryCount > 1 && othersUntilMs !== null && nowMs < othersUntilMs) return { type: 'wait' };
  return { type: 'run' };
}
