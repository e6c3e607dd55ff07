import type { StoredEventType } from '../webhooks/webhook-event-types.js';

/** Events that are sent by e-mail as well: those that stop work unless a person acts, and those that concern their card. */
export const EMAILED_EVENTS = [
  'wallet.low',
  'wallet.depleted',
  'auto_top_up.updated',
  'auto_top_up.failed',
  'auto_top_up.disabled',
] as const satisfies readonly StoredEventType[];

export type EmailedEvent = (typeof EMAILED_EVENTS)[number];

/** `confirmation` asks an address whether it wants alerts, and `address_removed` says that it gets no more of them. */
export type EmailKind = EmailedEvent | 'confirmation' | 'address_removed';

/**
 * Mails that a thief of a key would like to stop. They go to the address that was confirmed when they were queued, even if a
 * key has changed the alerts since.
 */
export function isNotice(kind: EmailKind): boolean {
  return kind === 'auto_top_up.updated' || kind === 'address_removed';
}

export function isEmailed(type: StoredEventType): type is EmailedEvent {
  return (EMAILED_EVENTS as readonly string[]).includes(type);
}
