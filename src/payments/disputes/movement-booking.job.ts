import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { type Job, JobRegistry } from '../../platform/jobs/job-queue.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import { DisputeMovementRepository } from './dispute-movement.repository.js';
import { MovementBookingService } from './movement-booking.service.js';

/** What was decided more recently is usually being booked by the process that decided it. */
const UNBOOKED_AFTER_MS = 60_000;
/** Each payment needs a few commits. The next run continues with the rest. */
const PAYMENTS_PER_RUN = 100;

/**
 * Books what was decided of disputes and of refunds that fail, and was not booked because the process ended in between. Stripe sends no
 * other event for what a dispute covers, or for a refund that it refused, so nothing else would book it.
 */
@Injectable()
export class MovementBookingJob implements Job {
  readonly name = 'movement_booking';
  readonly crontab = '* * * * *';
  private readonly logger = new Logger(MovementBookingJob.name);

  constructor(
    registry: JobRegistry,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly movements: DisputeMovementRepository,
    private readonly topUps: TopUpRepository,
    private readonly booking: MovementBookingService,
  ) {
    registry.register(this);
  }

  async run(): Promise<void> {
    const before = new Date(this.clock.nowMs() - UNBOOKED_AFTER_MS);
    for (const { accountId, topUpId } of await this.movements.findTopUpsToBook(before, PAYMENTS_PER_RUN)) {
      try {
        const topUp = await this.topUps.find(accountId, topUpId);
        if (topUp !== null) await this.booking.bookAll(topUp);
      } catch (error) {
        // A payment that cannot be booked must not delay the others.
        this.logger.error(
          { event: 'payment.booking_failed', topUp: topUpId, reason: String(error) },
          'What is decided of a payment could not be booked; the next run tries again',
        );
      }
    }
  }
}
