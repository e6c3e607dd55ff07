import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { AlertEmailsService } from '../alerts/alert-emails.service.js';
import { WebhookDeliveryQueueService } from './webhook-delivery-queue.service.js';
import type { WebhookDelivery } from './webhook-delivery.js';
import { WebhookEndpointRepository } from './webhook-endpoint.repository.js';
import {
  EMAILED_EVENTS,
  TEST_EVENT_TYPE,
  type EmailedEvent,
  type StoredEventType,
  type WebhookEventType,
} from '../event-types.js';

/** Standard Webhooks asks receivers to accept this much. Events name objects, and a receiver that needs more reads those. */
export const BODY_BYTES_MAX = 20_000;

/** JSON in wire form, with snake_case members, money as strings and times as Unix seconds. */
export type WebhookData = { readonly [member: string]: WebhookDataValue };
type WebhookDataValue = string | number | boolean | null | WebhookData | readonly WebhookDataValue[];

export type NewWebhookEvent = {
  readonly accountId: string;
  readonly type: WebhookEventType;
  readonly data: WebhookData;
  /**
   * Identifies what happened, so that it is published once: the id of a top-up, or of a dispute with its new status. An
   * account, type and key are one event, however often it is published, with the data of the first time. At most 200
   * characters.
   */
  readonly naturalKey?: string;
};

const STORE_EVENT = `
  INSERT INTO webhook_events (account_id, id, type, natural_key, body, created_at)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT ON CONSTRAINT webhook_events_natural_key_key DO NOTHING RETURNING id`;

/**
 * Publishes events for the rest of the service. The event and its deliveries are written in the caller's tx, so they exist
 * if, and only if, the change that they report was committed.
 */
@Injectable()
export class WebhookEventsService {
  constructor(
    private readonly transactions: TransactionRunner,
    private readonly endpoints: WebhookEndpointRepository,
    private readonly deliveries: WebhookDeliveryQueueService,
    private readonly emails: AlertEmailsService,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Queues the event for every endpoint of the account that subscribed to this type, and for its alert address. It never
   * waits for a receiver.
   *
   * @param tx the caller's tx; null to use a separate one.
   * @throws RangeError when the body would be too large: a fault of the caller.
   */
  async publish(tx: Tx | null, event: NewWebhookEvent): Promise<void> {
    if (tx === null) return this.transactions.run((own) => this.publish(own, event));
    const { accountId, type, data, naturalKey = null } = event;
    const id = await this.store(tx, accountId, type, data, naturalKey);
    if (id === null) return;
    for (const endpointId of await this.endpoints.idsFor(tx, accountId, type)) {
      await this.deliveries.add(tx, { accountId, id, type }, endpointId);
    }
    if (isEmailed(type)) await this.emails.addForEvent(tx, { accountId, id, type }, data);
  }

  /** Publishes an event that only this endpoint gets, whether or not it subscribed to the type. */
  async publishTest(tx: Tx, accountId: string, endpointId: string): Promise<WebhookDelivery> {
    const data: WebhookData = { webhook_endpoint: endpointId };
    const id = await this.store(tx, accountId, TEST_EVENT_TYPE, data, null);
    if (id === null) throw new Error('an event without a natural key is always new');
    return this.deliveries.add(tx, { accountId, id, type: TEST_EVENT_TYPE }, endpointId);
  }

  /** Returns the id of the new event, or null when it was published before. */
  private async store(
    tx: Tx,
    accountId: string,
    type: StoredEventType,
    data: WebhookData,
    naturalKey: string | null,
  ): Promise<string | null> {
    const now = new Date(this.clock.nowMs()).toISOString();
    const body = JSON.stringify({ type, timestamp: now, data });
    const bytes = Buffer.byteLength(body);
    if (bytes > BODY_BYTES_MAX)
      throw new RangeError(`a ${type} of ${bytes} bytes is too large for a webhook`);
    const values = [accountId, newId('webhookEvent'), type, naturalKey, body, now];
    const [stored] = await tx.query<{ id: string }[]>(STORE_EVENT, values);
    return stored?.id ?? null;
  }
}

function isEmailed(type: WebhookEventType): type is EmailedEvent {
  return (EMAILED_EVENTS as readonly string[]).includes(type);
}
