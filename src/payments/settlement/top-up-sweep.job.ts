import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { type Job, JobQueue, JobRegistry } from '../../platform/jobs/job-queue.js';
import { AUTO_TOP_UP_JOB } from '../../money/wallets/signal-jobs.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { TopUpSettlementService } from './top-up-settlement.service.js';

/** Events arrive within seconds. For a top-up without one for this long, an event may be lost. */
const UNCHECKED_AFTER_MS = 10 * 60_000;
/** Each top-up needs a request to Stripe. The next run checks the rest. */
const TOP_UPS_PER_RUN = 100;

/** Checks at Stripe the open top-ups whose event never arrived, and closes those that can no longer be paid. */
@Injectable()
export class TopUpSweepJob implements Job {
  readonly name = 'top_up_sweep';
  readonly crontab = '*/5 * * * *';
  private readonly logger = new Logger(TopUpSweepJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly topUps: TopUpRepository,
    private readonly settlement: TopUpSettlementService,
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
        // A top-up that cannot be settled must not delay the others.
        this.logger.warn(
          { event: 'top_up.check_failed', topUp: topUp.id, reason: String(error) },
          'An open top-up could not be checked at Stripe; the next run checks it again',
        );
      }
    }
  }

  private async check(topUp: TopUp, nowMs: number): Promise<void> {
    if (topUp.kind === 'auto') {
      // The job of auto top-up continues an interrupted charge.
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
