import type { AttemptError } from './delivery-rules.js';
import type { WebhookDeliveryStatus } from './webhook-delivery.machine.js';
import type { StoredEventType } from '../event-types.js';

/** The delivery of one event to one endpoint. */
export type WebhookDelivery = {
  readonly id: string;
  readonly accountId: string;
  readonly endpointId: string;
  /** The `webhook-id` header, the same for every attempt and every redelivery. */
  readonly eventId: string;
  readonly eventType: StoredEventType;
  readonly status: WebhookDeliveryStatus;
  readonly attempts: number;
  /** The attempts before the last redelivery, which restarted the schedule. */
  readonly attemptsBefore: number;
  readonly lastAttemptAt: Date | null;
  readonly nextAttemptAt: Date | null;
  /** The status of the receiver's last answer; null when there was none. */
  readonly responseStatus: number | null;
  readonly error: AttemptError | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
};
