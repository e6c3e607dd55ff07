import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, type Clock } from '../common/clock.js';
import { TransactionRunner } from '../database/transaction-runner.js';
import { JobQueue } from '../jobs/job-queue.js';
import { STRIPE_EVENT_JOB } from './stripe-event.job.js';
import { StripeEventHandlers } from './stripe-event-handlers.js';
import type { StripeEvent } from './stripe-event.js';

const STORE_EVENT = `
  INSERT INTO stripe_events (id, type, object_id, livemode, payload, received_at, outcome, processed_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $7::text IS NULL THEN NULL ELSE $6::timestamptz END)
  ON CONFLICT (id) DO NOTHING RETURNING id`;

/** Stores verified events. What happens because of them happens in a job, so that Stripe is answered at once. */
@Injectable()
export class StripeInbox {
  constructor(
    private readonly transactions: TransactionRunner,
    private readonly jobs: JobQueue,
    private readonly handlers: StripeEventHandlers,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /** Resolves when the event and its job are durable. A delivery of a known event changes nothing. */
  async receive(event: StripeEvent): Promise<void> {
    const handled = event.objectId !== null && this.handlers.find(event.type) !== null;
    await this.transactions.run(async (tx) => {
      const stored = await tx.query<{ id: string }[]>(STORE_EVENT, [
        event.id,
        event.type,
        event.objectId,
        event.livemode,
        event.payload,
        new Date(this.clock.nowMs()).toISOString(),
        handled ? null : 'ignored',
      ]);
      if (stored.length === 0 || !handled) return;
      await this.jobs.add(STRIPE_EVENT_JOB, { event_id: event.id }, { tx, jobKey: event.id });
    });
  }
}
