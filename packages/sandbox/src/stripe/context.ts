import type { Clock } from '../clock.js';
import type { SandboxLog } from '../loopback-server.js';
import type { StripeStore } from './store.js';
import type { WebhookFaults } from './webhook-faults.js';

/** The objects that every operation of the simulator works with. */
export type SandboxContext = {
  readonly store: StripeStore;
  readonly clock: Clock;
  readonly log: SandboxLog;
  /** Where this server answers; known once it listens, and part of every payment page's URL. */
  readonly baseUrl: () => string;
  /** It is read again at every use, because tests change faults while events are being delivered. */
  readonly webhookFaults: () => WebhookFaults;
};

export function nowSeconds(context: SandboxContext): number {
  return Math.floor(context.clock.nowMs() / 1_000);
}

/** Which API request caused an event; nulls when the customer did, on the payment page, or time itself. */
export type Cause = { readonly requestId: string | null; readonly idempotencyKey: string | null };

export const CAUSED_BY_NO_REQUEST: Cause = { requestId: null, idempotencyKey: null };
