import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { Job } from '../../platform/jobs/job.js';
import { JobQueue } from '../../platform/jobs/job-queue.js';
import { JobRegistry } from '../../platform/jobs/job-registry.js';
import { AUTO_TOP_UP_JOB } from '../../money/wallets/store/signal-jobs.js';
import type { TopUp } from './top-up.js';
import { TopUpRepository } from './top-up.repository.js';
import { TopUpSettlement } from './top-up-settlement.service.js';

/** Events arrive within seconds; what was silent for this long may have lost one. */
const UNCHECKED_AFTER_MS = 10 * 60_000;
/** Each is a request to Stripe. What is left over is the next run's. */
const TOP_UPS_PER_RUN = 100;

/** Asks Stripe about open top-ups whose event never came, and closes those that nobody can pay any more. */
@Injectable()
export class TopUpSweepJob implements Job {
  readonly name = 'top_up_sweep';
  readonly crontab = '*/5 * * * *';
  private readonly logger = new Logger(TopUpSweepJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly topUps: TopUpRepository,
    private readonly settlement: TopUpSettlement,
    private readonly jobs: JobQueue,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const nowMs = this.clock.nowMs();
    const before = new Date(nowMs - UNCHECKED_AFTER_MS);
    for (const topUp of await this.topUps.findUnchecked(before, TOP_UPS_PER_RUN)) {
      try {
        await this.check(topUp, nowMs);
      } catch (error) {
        // One that cannot be settled must not keep the others waiting.
        this.logger.warn(`Could not check ${topUp.id}: ${String(error)}`);
      }
    }
  }

  private async check(topUp: TopUp, nowMs: number): Promise<void> {
    if (topUp.kind === 'auto') {
      // Whatever cut it off, its own job knows how to go on.
      const jobKey = `${AUTO_TOP_UP_JOB}:${topUp.accountId}`;
      await this.jobs.add(AUTO_TOP_UP_JOB, { account_id: topUp.accountId }, { jobKey });
    } else if (topUp.checkoutSessionId !== null) await this.settlement.settle(topUp.checkoutSessionId);
    else if (topUp.expiresAt.getTime() < nowMs) {
      await this.topUps.move(topUp, 'failed', { failureCode: 'checkout_not_opened' });
      return;
    }
    await this.topUps.note(topUp);
  }
}
