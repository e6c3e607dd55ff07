import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { JobQueue } from '../../platform/jobs/job-queue.js';
import { WebhookDeliveryEntity } from './webhook-delivery.entity.js';
import type { WebhookDelivery } from './webhook-delivery.js';
import type { WebhookEventEntity } from './webhook-event.entity.js';

export const WEBHOOK_DELIVERY_JOB = 'webhook_delivery';

/**
 * Deliveries run in this many lines, over all processes, so that they cannot take the workers away from payments,
 * however many there are. An endpoint keeps to its line. Nobody waits in a line for a receiver that is slow: see
 * `WebhookDeliveryJob`.
 */
const LINES = 2;

/** Puts deliveries and their attempts into the job queue, in the tx that causes them. */
@Injectable()
export class WebhookDeliveryQueue {
  constructor(
    private readonly jobs: JobQueue,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** The first attempt is due at once. */
  async add(
    tx: Tx,
    event: Pick<WebhookEventEntity, 'accountId' | 'id' | 'type'>,
    endpointId: string,
  ): Promise<WebhookDelivery> {
    const now = new Date(this.clock.nowMs());
    const delivery: WebhookDelivery = {
      accountId: event.accountId,
      id: newId('webhookDelivery'),
      endpointId,
      eventId: event.id,
      eventType: event.type,
      status: 'pending',
      attempts: 0,
      attemptsBefore: 0,
      lastAttemptAt: null,
      nextAttemptAt: now,
      responseStatus: null,
      error: null,
      createdAt: now,
      finishedAt: null,
    };
    await tx.insert(WebhookDeliveryEntity, { ...delivery });
    await this.schedule(tx, delivery, now);
    return delivery;
  }

  /** Queues the next attempt; one that waits already is replaced. */
  async schedule(
    tx: Tx,
    { accountId, id, endpointId }: Pick<WebhookDelivery, 'accountId' | 'id' | 'endpointId'>,
    at: Date,
  ): Promise<void> {
    await this.jobs.add(
      WEBHOOK_DELIVERY_JOB,
      { account_id: accountId, delivery_id: id },
      { tx, runAt: at, jobKey: `${WEBHOOK_DELIVERY_JOB}:${id}`, queue: lineOf(endpointId) },
    );
  }
}

/** The last character of an id is random. */
function lineOf(endpointId: string): string {
  return `webhooks:${endpointId.charCodeAt(endpointId.length - 1) % LINES}`;
}
