import type { WebhookEventType } from './webhook-event-types.js';

/** Why an endpoint is sent nothing. */
export const DISABLED_REASONS = [
  /** Its owner switched it off. */
  'requested',
  /** It answered 410. */
  'gone',
  /** It failed for five days. */
  'failing',
] as const;

export type DisabledReason = (typeof DISABLED_REASONS)[number];

/** Where an account wants to be told what happens. Its secrets stay in the row. */
export type WebhookEndpoint = {
  readonly id: string;
  readonly accountId: string;
  readonly url: string;
  readonly events: readonly WebhookEventType[];
  readonly disabledReason: DisabledReason | null;
  readonly disabledAt: Date | null;
  readonly failingSince: Date | null;
  /** Until then the secret before the last rotation signs as well. */
  readonly previousSecretExpiresAt: Date | null;
  readonly createdAt: Date;
};

export type IssuedWebhookEndpoint = WebhookEndpoint & { readonly secret: string };

export type EndpointChanges = {
  readonly url?: string | undefined;
  readonly events?: readonly WebhookEventType[] | undefined;
  readonly enabled?: boolean | undefined;
};
