import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { type Job, JobRegistry } from '../../platform/jobs/job-queue.js';
import { PaymentRequestRefusedError } from '../stripe/payments.errors.js';
import { InsufficientCreditsError } from '../../money/wallets/wallet.errors.js';
import { RefundEvents } from './refund-events.js';
import { RefundSettlement } from './refund-settlement.service.js';
import type { Refund } from './refund.js';
import { RefundRepository } from './refund.repository.js';

/** A request that is still being answered is left alone. */
const UNCHECKED_AFTER_MS = 2 * 60_000;
/** Each is a request or two to Stripe. What is left over is the next run's. */
const REFUNDS_PER_RUN = 100;

/** Goes on with refunds that a crash or an outage left half done, and asks about those whose event never came. */
@Injectable()
export class RefundSweepJob implements Job {
  readonly name = 'refund_sweep';
  readonly crontab = '* * * * *';
  private readonly logger = new Logger(RefundSweepJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly refunds: RefundRepository,
    private readonly settlement: RefundSettlement,
    private readonly events: RefundEvents,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const before = new Date(this.clock.nowMs() - UNCHECKED_AFTER_MS);
    for (const refund of await this.refunds.findUnchecked(before, REFUNDS_PER_RUN)) {
      try {
        await this.goOn(refund);
      } catch (error) {
        // One that cannot go on must not keep the others waiting.
        this.logger.warn(`Could not go on with ${refund.id}: ${String(error)}`);
      }
      await this.refunds.note(refund);
    }
  }

  private async goOn(refund: Refund): Promise<void> {
    // Its failure is decided: Stripe is not asked again.
    if (refund.status === 'failing') return this.settlement.finishFailing(refund);
    if (refund.stripeRefundId !== null) return this.events.settle(refund.stripeRefundId);
    try {
      await this.settlement.reserve(refund);
      await this.settlement.submit(refund, true);
    } catch (error) {
      if (error instanceof InsufficientCreditsError) {
        await this.refunds.move(refund, 'refused', { failureCode: 'insufficient_credits' });
      } else if (!(error instanceof PaymentRequestRefusedError)) throw error;
      // A refusal has given the credit back and said so in the log.
    }
  }
}
