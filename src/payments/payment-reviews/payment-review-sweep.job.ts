import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { Job } from '../../platform/jobs/job.js';
import { JobRegistry } from '../../platform/jobs/job-registry.js';
import { PaymentRequestRefusedError } from '../stripe/payments.errors.js';
import { PaymentReturns } from './payment-return.service.js';
import { PaymentReviewRepository } from './payment-review.repository.js';

/** A request that is still being answered is left alone. */
const UNCHECKED_AFTER_MS = 2 * 60_000;
/** Each is a request or two to Stripe. What is left over is the next run's. */
const RETURNS_PER_RUN = 100;

/** Goes on with returns of payments that a crash or an outage left half done, and asks about those whose event never came. */
@Injectable()
export class PaymentReviewSweepJob implements Job {
  readonly name = 'payment_review_sweep';
  readonly crontab = '* * * * *';
  private readonly logger = new Logger(PaymentReviewSweepJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly reviews: PaymentReviewRepository,
    private readonly returns: PaymentReturns,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const before = new Date(this.clock.nowMs() - UNCHECKED_AFTER_MS);
    for (const review of await this.reviews.findUnchecked(before, RETURNS_PER_RUN)) {
      try {
        await this.returns.submit(review, true);
      } catch (error) {
        // A refusal is on the row and in the log. One that cannot go on must not keep the others waiting.
        if (!(error instanceof PaymentRequestRefusedError)) {
          this.logger.warn(`Could not go on with ${review.id}: ${String(error)}`);
        }
      }
      await this.reviews.note(review);
    }
  }
}
