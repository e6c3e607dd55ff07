import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { JobQueue, JobRegistry, type Job } from '../../../../platform/jobs/job-queue.js';
import { GenerationRecoveryService } from './generation-recovery.service.js';
import { OrphanedHoldsService } from './orphaned-holds.service.js';

/** The time between two runs. Recurring jobs run at most once a minute, which is too slow for held credit. */
const NEXT_RUN_MS = 10_000;

/**
 * Recovers the calls of dead processes. Each run queues the next one, so a single chain serves all processes. The crontab starts
 * the chain, and restarts it if it should ever break.
 */
@Injectable()
export class GenerationRecoveryJob implements Job {
  readonly name = 'generation_recovery';
  readonly crontab = '* * * * *';

  constructor(
    registry: JobRegistry,
    private readonly queue: JobQueue,
    private readonly recovery: GenerationRecoveryService,
    private readonly orphans: OrphanedHoldsService,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    await this.recovery.recoverDue();
    await this.orphans.release();
    await this.queue.add(
      this.name,
      {},
      {
        runAt: new Date(this.clock.nowMs() + NEXT_RUN_MS),
        jobKey: `${this.name}:next`,
        attemptsMax: 1,
      },
    );
  }
}
