import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { payloadText, type Job, type JobPayload, JobRegistry } from '../../platform/jobs/job-queue.js';
import { StripeEventEntity } from './stripe-event.entity.js';
import { StripeEventHandlers } from './stripe-event-handlers.js';

export const STRIPE_EVENT_JOB = 'stripe_event';

/** Enough to see what failed; the log has the full error. */
const ERROR_LENGTH_MAX = 500;

/** Passes one stored event to its handler, and repeats that until the handler succeeds. */
@Injectable()
export class StripeEventJob implements Job {
  readonly name = STRIPE_EVENT_JOB;

  constructor(
    registry: JobRegistry,
    @InjectRepository(StripeEventEntity) private readonly events: Repository<StripeEventEntity>,
    private readonly handlers: StripeEventHandlers,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {
    registry.register(this);
  }

  async run(payload: JobPayload): Promise<void> {
    const id = payloadText(payload, 'event_id');
    const event = await this.events.findOneByOrFail({ id });
    if (event.processedAt !== null) return;
    const handler = this.handlers.find(event.type);
    if (handler === null || event.objectId === null) throw new Error(`no handler for ${event.type}`);
    try {
      await handler({ id, type: event.type, objectId: event.objectId });
    } catch (error) {
      await this.events.increment({ id }, 'attempts', 1);
      await this.events.update({ id }, { lastError: String(error).slice(0, ERROR_LENGTH_MAX) });
      throw error;
    }
    const processedAt = new Date(this.clock.nowMs());
    await this.events.update({ id }, { outcome: 'handled', processedAt, lastError: null });
  }
}
