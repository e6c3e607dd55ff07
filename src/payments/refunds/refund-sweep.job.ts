import { Inject, Injectable, Logger } from '@nestjs/common';
import { DAY_MS, type Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { type Job, JobRegistry } from '../../platform/jobs/job-queue.js';
import { FailedRefundBookingService } from './failed-refund-booking.service.js';
import { RefundEvents } from './refund.events.js';
import { RefundSettlementService } from './refund-settlement.service.js';
import type { Refund } from './refund.js';
import { RefundRepository } from './refund.repository.js';

/** Refunds that were requested more recently may still be waiting for Stripe's answer. */
const UNCHECKED_AFTER_MS = 2 * 60_000;
/** Each refund needs one or two requests to Stripe. The next run continues with the rest. */
const REFUNDS_PER_RUN = 100;
/** No process is paused longer and goes on. The doctor names what is older. */
const REFUSED_WITHIN_MS = 7 * DAY_MS;

/** Continues refunds after a crash or an outage, and checks those whose event never arrived. */
@Injectable()
export class RefundSweepJob implements Job {
  readonly name = 'refund_sweep';
  readonly crontab = '* * * * *';
  private readonly logger = new Logger(RefundSweepJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly refunds: RefundRepository,
    private readonly settlement: RefundSettlementService,
    private readonly failedRefunds: FailedRefundBookingService,
    private readonly events: RefundEvents,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const before = new Date(this.clock.nowMs() - UNCHECKED_AFTER_MS);
    for (const refund of await this.refunds.findUnchecked(before, REFUNDS_PER_RUN)) {
      try {
        await this.continueRefund(refund);
      } catch (error) {
        // A refund that cannot be continued must not delay the others.
        this.logger.warn(
          { event: 'refund.check_failed', refund: refund.id, reason: String(error) },
          'A refund could not be continued; the next run tries again',
        );
      }
      await this.refunds.note(refund);
    }
    await this.giveBackRefused();
  }

  /** A process that took the credit of a refund which another one had refused may have ended before it gave the credit back. */
  private async giveBackRefused(): Promise<void> {
    const after = new Date(this.clock.nowMs() - REFUSED_WITHIN_MS);
    for (const refund of await this.refunds.findRefusedWithCredit(after, REFUNDS_PER_RUN))
      await this.failedRefunds.reinstate(refund);
  }

  private async continueRefund(refund: Refund): Promise<void> {
    if (refund.stripeRefundId !== null) return this.events.settle(refund.stripeRefundId);
    await this.settlement.resume(refund);
  }
}
