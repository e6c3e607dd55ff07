import type { AttemptError } from './delivery-rules.js';
import type { WebhookDeliveryStatus } from './webhook-delivery.machine.js';
import type { StoredEventType } from './webhook-event-types.js';

/** One event on its way to one endpoint. */
export type WebhookDelivery = {
  readonly id: string;
  readonly accountId: string;
  readonly endpointId: string;
  /** Sent as `webhook-id`: the same for every attempt and every redelivery. */
  readonly eventId: string;
  readonly eventType: StoredEventType;
  readonly status: WebhookDeliveryStatus;
  readonly attempts: number;
  /** Attempts before the last redelivery: it starts the schedule anew. */
  readonly attemptsBefore: number;
  readonly lastAttemptAt: Date | null;
  readonly nextAttemptAt: Date | null;
  /** What the receiver answered last; null: nothing. */
  readonly responseStatus: number | null;
  readonly error: AttemptError | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
};
