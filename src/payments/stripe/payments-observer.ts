/** What payments report about themselves. Metrics implement it, so that payments do not depend on metrics. */
export interface PaymentsObserver {
  /** Called when `count` events of this type were found at Stripe that had never arrived here. */
  eventsMissed(type: string, count: number): void;
}

export const PAYMENTS_OBSERVER = Symbol('PAYMENTS_OBSERVER');

export const silentPaymentsObserver: PaymentsObserver = { eventsMissed: () => undefined };
