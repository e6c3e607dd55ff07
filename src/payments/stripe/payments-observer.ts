/** What the payments tell about themselves; metrics implement it, payments know no metrics. */
export interface PaymentsObserver {
  /** So many events of this type were found at Stripe that had never arrived here. */
  eventsMissed(type: string, count: number): void;
}

export const PAYMENTS_OBSERVER = Symbol('PAYMENTS_OBSERVER');

export const silentPaymentsObserver: PaymentsObserver = { eventsMissed: () => undefined };
