import { CAUSED_BY_NO_REQUEST, type SandboxContext } from './context.js';
import { ImpossibleStepError, moveDispute } from './dispute-lifecycle.js';
import type { DisputeStatus } from './money-out-objects.js';
import { failRefund, succeedRefund } from './refund-settlement.js';
import type { PlannedOutcome } from './store.js';

const DECISIONS: Partial<Record<PlannedOutcome['outcome'], DisputeStatus>> = {
  escalated: 'needs_response',
  lost: 'lost',
  warning_closed: 'warning_closed',
  won: 'won',
};

/** Carries out the outcomes that are due; returns how many there were. */
export function carryOutDueOutcomes(context: SandboxContext): number {
  const nowMs = context.clock.nowMs();
  const due = context.store.plannedOutcomes.oldestFirst().filter(({ dueAtMs }) => dueAtMs <= nowMs);
  for (const planned of due) {
    context.store.plannedOutcomes.delete(planned.id);
    carryOut(context, planned);
  }
  return due.length;
}

/** If the object has changed in another way in the meantime, that change takes precedence over the plan. */
function carryOut(context: SandboxContext, { id, outcome }: PlannedOutcome): void {
  const refund = context.store.refunds.get(id);
  if (refund !== undefined) {
    if (outcome === 'failed' && refund.status !== 'failed') {
      failRefund(context, refund, 'expired_or_canceled_card', CAUSED_BY_NO_REQUEST);
    } else if (outcome === 'succeeded' && refund.status === 'pending') {
      succeedRefund(context, refund, CAUSED_BY_NO_REQUEST);
    }
    return;
  }
  const dispute = context.store.disputes.get(id);
  const status = DECISIONS[outcome];
  if (dispute === undefined || status === undefined) return;
  try {
    moveDispute(context, dispute, status, CAUSED_BY_NO_REQUEST);
  } catch (error) {
    if (!(error instanceof ImpossibleStepError)) throw error;
  }
}
