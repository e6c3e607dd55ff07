import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { AlertEmails } from '../email/alert-emails.service.js';
import { WebhookDeliveryQueue } from './webhook-delivery-queue.service.js';
import type { WebhookDelivery } from './webhook-delivery.js';
import { WebhookEndpointRepository } from './webhook-endpoint.repository.js';
import { type StoredEventType, TEST_EVENT_TYPE, type WebhookEventType } from './webhook-event-types.js';

/** Standard Webhooks asks receivers to take this much. Events name objects; whoever needs more reads those. */
export const BODY_BYTES_MAX = 20_000;

/** JSON in wire form: snake_case, money as strings, times as Unix seconds. */
export type WebhookData = { readonly [member: string]: WebhookDataValue };
type WebhookDataValue = string | number | boolean | null | WebhookData | readonly WebhookDataValue[];

export type NewWebhookEvent = {
  readonly accountId: string;
  readonly type: WebhookEventType;
  readonly data: WebhookData;
  /**
   * What happened, so that it happens once: the id of a top-up, or of a dispute with its new status. One account,
   * type and key is one event, however often it is published; the first data stand. At most 200 characters.
   */
  readonly naturalKey?: string;
};

const STORE_EVENT = `
  INSERT INTO webhook_events (account_id, id, type, natural_key, body, created_at)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT ON CONSTRAINT webhook_events_natural_key_key DO NOTHING RETURNING id`;

/**
 * Where the rest of the product says that something happened. The event and its deliveries are written in the
 * caller's tx, so that they exist if, and only if, what they tell of was committed.
 */
@Injectable()
export class WebhookEvents {
  constructor(
    private readonly transactions: TransactionRunner,
    private readonly endpoints: WebhookEndpointRepository,
    private readonly deliveries: WebhookDeliveryQueue,
    private readonly emails: AlertEmails,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Tells every endpoint of the account that asked for this type, and by e-mail who asked for that. Never waits for
   * a receiver.
   *
   * @param tx null: in a tx of its own.
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
    await this.emails.tell(tx, { accountId, id, type }, data);
  }

  /** An event that only this endpoint gets, whatever it subscribed to. */
  async publishTest(tx: Tx, accountId: string, endpointId: string): Promise<WebhookDelivery> {
    const data: WebhookData = { webhook_endpoint: endpointId };
    const id = await this.store(tx, accountId, TEST_EVENT_TYPE, data, null);
    if (id === null) throw new Error('an event without a natural key is always new');
    return this.deliveries.add(tx, { accountId, id, type: TEST_EVENT_TYPE }, endpointId);
  }

  /** The id of the new event; null when it was published before. */
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
