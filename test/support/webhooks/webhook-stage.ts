import { jest } from '@jest/globals';
import { Webhook } from 'standardwebhooks';
import {
  WebhookEventsService,
  type NewWebhookEvent,
} from '../../../src/notifications/webhooks/webhook-events.service.js';
import { EventReceiver, type ReceivedEvent } from './event-receiver.js';
import { startTestApp, type TestApp, type TestCustomer } from '../app/test-app.js';
import type { TestClock } from '../app/test-clock.js';
import {
  attempt,
  createEndpoint,
  deliveriesTo,
  queuedAt,
  type DeliveryRow,
  type TestEndpoint,
} from './webhook-deliveries.js';

export const ENDPOINTS = '/v1/webhook_endpoints';
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

/**
 * The service, a receiver, and for each test a customer with an endpoint there. No job runs by itself: the tests
 * run each attempt when they want it, under a clock that they move.
 */
export class WebhookStage {
  #customer: TestCustomer | null = null;
  #endpoint: TestEndpoint | null = null;

  private constructor(
    readonly app: TestApp,
    readonly events: WebhookEventsService,
    readonly receiver: EventReceiver,
  ) {}

  static async open(): Promise<WebhookStage> {
    const app = await startTestApp({ settings: { webhookLoopback: true, runJobs: false, rateLimit: false } });
    const events = app.app.get(WebhookEventsService, { strict: false });
    return new WebhookStage(app, events, await EventReceiver.start());
  }

  async close(): Promise<void> {
    await this.receiver.close();
    await this.app.close();
  }

  /** Before each test. */
  async begin(): Promise<void> {
    this.clock.stop();
    this.#customer = await this.app.createCustomer();
    this.#endpoint = await createEndpoint(this.#customer, this.receiver.url);
  }

  /** After each test. */
  end(): void {
    jest.restoreAllMocks();
    this.clock.reset();
    this.receiver.reset();
  }

  get customer(): TestCustomer {
    if (this.#customer === null) throw new Error('no test has begun');
    return this.#customer;
  }

  /** Asked for `top_up.succeeded` and `top_up.failed`. */
  get endpoint(): TestEndpoint {
    if (this.#endpoint === null) throw new Error('no test has begun');
    return this.#endpoint;
  }

  /** The service's, which hangs but for what a test lets pass. */
  get clock(): TestClock {
    return this.app.clock;
  }

  nowMs(): number {
    return this.clock.nowMs();
  }

  topUpSucceeded(naturalKey?: string, data: NewWebhookEvent['data'] = { id: 'tu_1' }): NewWebhookEvent {
    const key = naturalKey === undefined ? {} : { naturalKey };
    return { accountId: this.customer.accountId, type: 'top_up.succeeded', data, ...key };
  }

  async onlyDelivery(to = this.endpoint): Promise<DeliveryRow> {
    const [only, ...others] = await deliveriesTo(this.app, to);
    if (only === undefined || others.length > 0) {
      throw new Error(`${only === undefined ? 0 : others.length + 1} deliveries instead of one`);
    }
    return only;
  }

  /** As time passes: the clock goes to when the next attempt is queued, and it runs. Answers how long that was. */
  async nextAttempt(delivery: DeliveryRow): Promise<number> {
    const atMs = await queuedAt(this.app, delivery.id);
    if (atMs === null) throw new Error('no attempt is queued');
    const waitedMs = atMs - this.nowMs();
    this.clock.letPass(Math.max(0, waitedMs));
    await attempt(this.app, delivery);
    return waitedMs;
  }

  /** The customer's endpoint as the API shows it. */
  async shown(): Promise<Record<string, unknown>> {
    const answer = await this.customer.client.get(`${ENDPOINTS}/${this.endpoint.id}`);
    return answer.expect(200).body as Record<string, unknown>;
  }
}

/** The library refuses what is not of this minute; under a moved clock, the signature itself is compared. */
export function isSignedBy({ id, headers, body }: ReceivedEvent, ...secrets: string[]): boolean {
  const at = new Date(Number(headers['webhook-timestamp']) * 1_000);
  const signatures = secrets.map((secret) => new Webhook(secret).sign(id, at, body));
  return headers['webhook-signature'] === signatures.join(' ');
}
