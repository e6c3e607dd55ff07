import type { WebhookEventType } from '../event-types.js';

/** Why nothing is sent to an endpoint. */
export const DISABLED_REASONS = [
  /** Its owner disabled it. */
  'requested',
  /** It answered 410. */
  'gone',
  /** It failed for five days. */
  'failing',
] as const;

export type DisabledReason = (typeof DISABLED_REASONS)[number];

/** A URL to which an account wants events to be sent. Its secrets are only in the row. */
export type WebhookEndpoint = {
  readonly id: string;
  readonly accountId: string;
  readonly url: string;
  readonly events: readonly WebhookEventType[];
  readonly disabledReason: DisabledReason | null;
  readonly disabledAt: Date | null;
  readonly failingSince: Date | null;
  /** Until this time the previous secret signs as well. */
  readonly previousSecretExpiresAt: Date | null;
  readonly createdAt: Date;
};

export type IssuedWebhookEndpoint = WebhookEndpoint & { readonly secret: string };

export type EndpointChanges = {
  readonly url?: string | undefined;
  readonly events?: readonly WebhookEventType[] | undefined;
  readonly enabled?: boolean | undefined;
};
