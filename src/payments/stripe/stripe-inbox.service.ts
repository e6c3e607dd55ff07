import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner } from '../../platform/database/transaction-runner.js';
import { JobQueue } from '../../platform/jobs/job-queue.js';
import { STRIPE_EVENT_JOB } from './stripe-event.job.js';
import { StripeEventHandlers } from './stripe-event-handlers.js';
import type { StripeEvent } from './stripe-event.js';

/**
 * An event that arrived while no handler knew its type (an older version of the service stored it during an upgrade)
 * gets its job when it arrives again, from Stripe or from the gap fill.
 */
const STORE_EVENT = `
  INSERT INTO stripe_events (id, type, object_id, livemode, payload, received_at, outcome, processed_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $7::text IS NULL THEN NULL ELSE $6::timestamptz END)
  ON CONFLICT (id) DO UPDATE SET outcome = NULL, processed_at = NULL
    WHERE stripe_events.outcome = 'ignored' AND excluded.outcome IS NULL
  RETURNING id`;

/** Stores verified events. A job handles them later, so that Stripe is answered at once. */
@Injectable()
export class StripeInbox {
  constructor(
    private readonly transactions: TransactionRunner,
    private readonly jobs: JobQueue,
    private readonly handlers: StripeEventHandlers,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Resolves when the event and its job are durable. Returns false for an event that was stored before; that delivery
   * changes nothing.
   */
  async receive(event: StripeEvent): Promise<boolean> {
    const handled = event.objectId !== null && this.handlers.find(event.type) !== null;
    return this.transactions.run(async (tx) => {
      const stored = await tx.query<{ id: string }[]>(STORE_EVENT, [
        event.id,
        event.type,
        event.objectId,
        event.livemode,
        event.payload,
        new Date(this.clock.nowMs()).toISOString(),
        handled ? null : 'ignored',
      ]);
      if (stored.length === 0) return false;
      if (handled) await this.jobs.add(STRIPE_EVENT_JOB, { event_id: event.id }, { tx, jobKey: event.id });
      return true;
    });
  }
}
