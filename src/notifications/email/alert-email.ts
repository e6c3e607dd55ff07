import type { StoredEventType } from '../webhooks/webhook-event-types.js';

/** Events that a person is told of as well: those that stop work unless somebody acts, and those that concern their card. */
export const EMAILED_EVENTS = [
  'wallet.low',
  'wallet.depleted',
  'auto_top_up.updated',
  'auto_top_up.failed',
  'auto_top_up.disabled',
] as const satisfies readonly StoredEventType[];

export type EmailedEvent = (typeof EMAILED_EVENTS)[number];

/** `confirmation` asks an address whether it wants the others; `address_removed` tells one that it gets no more of them. */
export type EmailKind = EmailedEvent | 'confirmation' | 'address_removed';

/**
 * Mails that whoever takes over a key would like to stop: they go to the address that had said yes when they were
 * queued, whatever a key has made of the alerts since.
 */
export function isNotice(kind: EmailKind): boolean {
  return kind === 'auto_top_up.updated' || kind === 'address_removed';
}

export function isEmailed(type: StoredEventType): type is EmailedEvent {
  return (EMAILED_EVENTS as readonly string[]).includes(type);
}
