import { BFL_ACTIVE_TASKS_DEFAULT } from '../../../src/platform/config/settings.js';
import { GenerationRecoveryService } from '../../../src/gateway/images/calls/recovery/generation-recovery.service.js';
import { OrphanedHoldsService } from '../../../src/gateway/images/calls/recovery/orphaned-holds.service.js';
import { startTestApp, type TestApp } from '../app/test-app.js';

/** After this, neither a lease nor a hold of a dead process counts any more: recovery's bound. */
export const RECOVERY_DUE_MS = 120_000;

type Options = {
  readonly databaseUrl: string;
  /** Of the service whose calls are recovered: its images lie there. */
  readonly dataDir: string;
  readonly upstream: { readonly apiKey: string; readonly baseUrl: string };
  /** How much later it is for the second process; past every lease when absent. */
  readonly aheadMs?: number;
};

/**
 * What the jobs of any process do when the leases of a dead one are over: here at once, by a second process on
 * the same database whose clock is ahead.
 */
export async function recoverGenerations({
  databaseUrl,
  dataDir,
  upstream,
  aheadMs = RECOVERY_DUE_MS,
}: Options): Promise<void> {
  const apiBase = new URL(upstream.baseUrl);
  const blackForestLabs = { apiKey: upstream.apiKey, apiBase, activeTasksMax: BFL_ACTIVE_TASKS_DEFAULT };
  const second = await startTestApp({ databaseUrl, settings: { dataDir, blackForestLabs } });
  try {
    await withClockAhead(second, aheadMs, async () => {
      await second.app.get(GenerationRecoveryService).recoverDue();
      await second.app.get(OrphanedHoldsService).release();
    });
  } finally {
    await second.close();
  }
}

export async function withClockAhead(
  { clock }: TestApp,
  aheadMs: number,
  work: () => Promise<void>,
): Promise<void> {
  clock.aheadMs = aheadMs;
  try {
    await work();
  } finally {
    clock.reset();
  }
}
