import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { isId } from '../../platform/common/ids.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { ResourceMissingError } from '../../platform/errors/common.errors.js';
import { WebhookDeliveryEntity } from './webhook-delivery.entity.js';
import { WebhookDeliveryQueueService } from './webhook-delivery-queue.service.js';
import type { WebhookDelivery } from './webhook-delivery.js';
import { WebhookEndpointRepository } from './webhook-endpoint.repository.js';
import { WebhookEventsService } from './webhook-events.service.js';
import { WebhookEndpointDisabledError } from './webhook.errors.js';

/** The delivery log of an endpoint. Every method throws `ResourceMissingError` for an endpoint or delivery of another account. */
@Injectable()
export class WebhookDeliveriesService {
  constructor(
    @InjectRepository(WebhookDeliveryEntity) private readonly deliveries: Repository<WebhookDeliveryEntity>,
    private readonly endpoints: WebhookEndpointRepository,
    private readonly events: WebhookEventsService,
    private readonly queue: WebhookDeliveryQueueService,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Lists deliveries, newest first. */
  async list(accountId: string, endpointId: string, page: PageRequest): Promise<Page<WebhookDelivery>> {
    await this.endpoints.require(accountId, endpointId);
    return findPage(this.deliveries, 'webhookDelivery', { accountId, endpointId }, page);
  }

  /** Sends a `webhook.test` event like any other event. Throws `WebhookEndpointDisabledError`. */
  async test(accountId: string, endpointId: string): Promise<WebhookDelivery> {
    return this.transactions.run(
      async (tx) => {
        await this.requireEnabled(tx, accountId, endpointId);
        return this.events.publishTest(tx, accountId, endpointId);
      },
      { kind: 'account_key', accountId },
    );
  }

  /**
   * Attempts a delivery again at once, and restarts its schedule. It keeps its `webhook-id`, so that a receiver that
   * accepted it before recognises it. Throws `WebhookEndpointDisabledError`.
   */
  async redeliver(accountId: string, endpointId: string, id: string): Promise<WebhookDelivery> {
    return this.transactions.run(
      async (tx) => {
        await this.requireEnabled(tx, accountId, endpointId);
        const delivery = await this.requireLocked(tx, accountId, endpointId, id);
        const now = new Date(this.clock.nowMs());
        const again = {
          status: 'pending',
          attemptsBefore: delivery.attempts,
          nextAttemptAt: now,
          finishedAt: null,
        } as const;
        await tx.update(WebhookDeliveryEntity, { accountId, id }, again);
        await this.queue.schedule(tx, delivery, now);
        return { ...delivery, ...again };
      },
      { kind: 'account_key', accountId },
    );
  }

  private async requireEnabled(tx: Tx, accountId: string, endpointId: string): Promise<void> {
    const { id, disabledReason } = await this.endpoints.requireLocked(tx, accountId, endpointId);
    if (disabledReason !== null) throw new WebhookEndpointDisabledError(id, disabledReason);
  }

  private async requireLocked(
    tx: Tx,
    accountId: string,
    endpointId: string,
    id: string,
  ): Promise<WebhookDeliveryEntity> {
    const row = isId('webhookDelivery', id)
      ? await tx.findOne(WebhookDeliveryEntity, {
          where: { accountId, endpointId, id },
          lock: { mode: 'for_no_key_update' },
        })
      : null;
    if (row === null) throw new ResourceMissingError('webhook delivery', id, 'delivery');
    return row;
  }
}
