import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import type { Job } from '../../../platform/jobs/job.js';
import { JobRegistry } from '../../../platform/jobs/job-registry.js';
import { StripeGapFill } from './stripe-gap-fill.service.js';

/** Younger events are still on their way, and were not missed. */
const ON_THEIR_WAY_MS = 60_000;

/** Looks for events that Stripe made and that never arrived. Beside it the top-up sweep asks for open top-ups. */
@Injectable()
export class StripeGapFillJob implements Job {
  readonly name = 'stripe_gap_fill';
  /** Between the sweeps of the other jobs, which ask Stripe as well. */
  readonly crontab = '2,7,12,17,22,27,32,37,42,47,52,57 * * * *';
  private readonly logger = new Logger(StripeGapFillJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly gapFill: StripeGapFill,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const missed = await this.gapFill.fill(this.clock.nowMs() - ON_THEIR_WAY_MS);
    if (missed > 0) {
      this.logger.warn(`${missed} events of Stripe had never arrived. Is its webhook endpoint well?`);
    }
  }
}
