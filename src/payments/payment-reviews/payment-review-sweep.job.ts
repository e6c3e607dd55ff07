import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { type Job, JobRegistry } from '../../platform/jobs/job-queue.js';
import { PaymentRequestRefusedError } from '../stripe/payments.errors.js';
import { UncreditedRefundsService } from './uncredited-refunds.service.js';
import { PaymentReviewRepository } from './payment-review.repository.js';

/** Refunds that were requested more recently may still be waiting for Stripe's answer. */
const UNCHECKED_AFTER_MS = 2 * 60_000;
/** Each refund needs one or two requests to Stripe. The next run continues with the rest. */
const RETURNS_PER_RUN = 100;

/** Continues refunds of uncredited payments after a crash or an outage, and checks those whose event never arrived. */
@Injectable()
export class PaymentReviewSweepJob implements Job {
  readonly name = 'payment_review_sweep';
  readonly crontab = '* * * * *';
  private readonly logger = new Logger(PaymentReviewSweepJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly reviews: PaymentReviewRepository,
    private readonly returns: UncreditedRefundsService,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const before = new Date(this.clock.nowMs() - UNCHECKED_AFTER_MS);
    for (const review of await this.reviews.findUnchecked(before, RETURNS_PER_RUN)) {
      try {
        await this.returns.submit(review, true);
      } catch (error) {
        // A refusal is stored and logged already. A refund that fails must not delay the others.
        if (!(error instanceof PaymentRequestRefusedError)) {
          this.logger.warn(
            { event: 'payment_review.check_failed', review: review.id, reason: String(error) },
            'The refund of a payment could not be continued; the next run tries again',
          );
        }
      }
      await this.reviews.note(review);
    }
  }
}
