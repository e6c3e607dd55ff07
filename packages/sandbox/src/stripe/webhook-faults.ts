/** How deliveries misbehave, on demand. Stripe promises at-least-once in any order, and sometimes uses it. */
export type WebhookFaults = {
  /** Copies of every attempt that are sent; 1 is no fault. */
  readonly copies: number;
  /** Waits this long before the first attempt. */
  readonly delayMs: number;
  /** Gathers deliveries for a moment and sends the newest first, one after the other. */
  readonly reorder: boolean;
  /** The next so many attempts vanish on the wire, and are tried again. */
  readonly dropNextAttempts: number;
  /** New events are never delivered; only `GET /v1/events` knows them. */
  readonly loseEvents: boolean;
  /** Only events of these types are duplicated, delayed, dropped or lost; all, while this is empty. */
  readonly onlyTypes: readonly string[];
};

/** True when the faults are meant for events of this type. */
export function areFaultsFor(faults: WebhookFaults, type: string): boolean {
  return faults.onlyTypes.length === 0 || faults.onlyTypes.includes(type);
}

export const NO_WEBHOOK_FAULTS: WebhookFaults = {
  copies: 1,
  delayMs: 0,
  reorder: false,
  dropNextAttempts: 0,
  loseEvents: false,
  onlyTypes: [],
};

/** Long enough to gather the events of two payments made one after the other. */
export const REORDER_WINDOW_MS = 150;
