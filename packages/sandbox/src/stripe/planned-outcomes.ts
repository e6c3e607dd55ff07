import type { SandboxContext } from './context.js';
import type { PlannedOutcome } from './store.js';

/** How long "some time later" is here: long enough that the answer and its events are seen first. */
export const OUTCOME_DELAY_MS = 2_000;

/** Plans a later change of the object, which also happens when the simulator restarts before it. */
export function planOutcome(context: SandboxContext, id: string, outcome: PlannedOutcome['outcome']): void {
  const dueAtMs = context.clock.nowMs() + OUTCOME_DELAY_MS;
  context.store.plannedOutcomes.put({ id, dueAtMs, outcome });
}
