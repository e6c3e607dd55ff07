import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { type Job, JobQueue, JobRegistry } from '../../platform/jobs/job-queue.js';
import { StripeEventHandlers } from '../../payments/stripe/stripe-inbox.service.js';
import { BalanceReaderService } from './balance-reader.service.js';
import { PlatformBookService } from './platform-book.service.js';
import { UnappliedPaymentsService } from './unapplied-payments.service.js';

const STRIPE_BALANCE_JOB = 'stripe_balance';

/** Events that hint that the balance at Stripe has moved. Their content is not trusted. */
const HINTS = [
  'charge.succeeded',
  // Stripe may create the balance transaction only some time after the charge.
  'charge.updated',
  'charge.refunded',
  'refund.failed',
  'charge.dispute.funds_withdrawn',
  'charge.dispute.funds_reinstated',
  'payout.paid',
  'payout.failed',
  'payout.canceled',
  'payout.reconciliation_completed',
] as const;

/**
 * No caller waits for the platform book, so hints are handled in batches. Time is divided into steps of this length, and all
 * hints of one step lead to one run, at its end.
 */
const STEP_MS = 15_000;

/** Reads what moved at Stripe and books our part of it, after hints, and regularly for hints that never arrived. */
@Injectable()
export class StripeBalanceJob implements Job {
  readonly name = STRIPE_BALANCE_JOB;
  /** Runs between the other jobs that send requests to Stripe. */
  readonly crontab = '4,9,14,19,24,29,34,39,44,49,54,59 * * * *';
  private readonly logger = new Logger(StripeBalanceJob.name);

  constructor(
    registry: JobRegistry,
    handlers: StripeEventHandlers,
    private readonly jobs: JobQueue,
    private readonly reader: BalanceReaderService,
    private readonly book: PlatformBookService,
    private readonly unapplied: UnappliedPaymentsService,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
    handlers.follow(HINTS, () => this.plan());
  }

  async run(): Promise<void> {
    const stored = await this.reader.read();
    await this.book.bookAll();
    await this.unapplied.bookAll();
    if (stored > 0)
      this.logger.log(
        { event: 'balance_transactions.booked', count: stored },
        'Balance transactions of Stripe were read and booked',
      );
  }

  private async plan(): Promise<void> {
    const step = Math.floor(this.clock.nowMs() / STEP_MS) + 1;
    const runAt = new Date(step * STEP_MS);
    await this.jobs.add(this.name, {}, { jobKey: `${this.name}:${step}`, queue: this.name, runAt });
  }
}
