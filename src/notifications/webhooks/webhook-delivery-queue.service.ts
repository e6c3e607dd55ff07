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
 * Deliveries run in this many queues, over all processes, so that they cannot occupy the workers that payments need,
 * however many there are. All deliveries of an endpoint are in one queue. A slow receiver does not block its queue: see
 * `WebhookDeliveryJob`.
 */
const QUEUES = 2;

/** Queues deliveries and their attempts as jobs, in the tx that causes them. */
@Injectable()
export class WebhookDeliveryQueueService {
  constructor(
    private readonly jobs: JobQueue,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Queues the first attempt, which is due at once. */
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

  /** Queues the next attempt, in place of one that is queued already. */
  async schedule(
    tx: Tx,
    { accountId, id, endpointId }: Pick<WebhookDelivery, 'accountId' | 'id' | 'endpointId'>,
    at: Date,
  ): Promise<void> {
    await this.jobs.add(
      WEBHOOK_DELIVERY_JOB,
      { account_id: accountId, delivery_id: id },
      { tx, runAt: at, jobKey: `${WEBHOOK_DELIVERY_JOB}:${id}`, queue: toQueueName(endpointId) },
    );
  }
}

/** The last character of an id is random, so endpoints are spread evenly. */
function toQueueName(endpointId: string): string {
  return `webhooks:${endpointId.charCodeAt(endpointId.length - 1) % QUEUES}`;
}
