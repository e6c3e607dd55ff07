import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { type Job, JobRegistry } from '../../../platform/jobs/job-queue.js';
import { StripeGapFillService } from './stripe-gap-fill.service.js';

/** Newer events may still be on their way, so they do not count as missed. */
const DELIVERY_GRACE_MS = 60_000;

/** Finds events that Stripe created and that never arrived. The top-up sweep also checks open top-ups at Stripe. */
@Injectable()
export class StripeGapFillJob implements Job {
  readonly name = 'stripe_gap_fill';
  /** Runs between the sweeps of the other jobs, which send requests to Stripe as well. */
  readonly crontab = '2,7,12,17,22,27,32,37,42,47,52,57 * * * *';
  private readonly logger = new Logger(StripeGapFillJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly gapFill: StripeGapFillService,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const missed = await this.gapFill.fill(this.clock.nowMs() - DELIVERY_GRACE_MS);
    if (missed > 0) {
      this.logger.warn(
        { event: 'stripe_events.missed', count: missed },
        'Events of Stripe never arrived as webhooks and were read from its list; check the webhook endpoint at Stripe',
      );
    }
  }
}
