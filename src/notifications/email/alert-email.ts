import type { StoredEventType } from '../webhooks/webhook-event-types.js';

/** Events that a person is told of as well: those that stop work unless somebody acts. */
export const EMAILED_EVENTS = [
  'wallet.low',
  'wallet.depleted',
  'auto_top_up.failed',
  'auto_top_up.disabled',
] as const satisfies readonly StoredEventType[];

export type EmailedEvent = (typeof EMAILED_EVENTS)[number];

/** `confirmation` asks an address whether it wants the others. */
export type EmailKind = EmailedEvent | 'confirmation';

export function isEmailed(type: StoredEventType): type is EmailedEvent {
  return (EMAILED_EVENTS as readonly string[]).includes(type);
}
