/**
 * The life of a top-up. It only moves forward, so late, repeated and reordered events change nothing:
 *
 * - `created`: the row is written; Stripe was not asked yet, or its answer is unknown.
 * - `pending`: the payment page is open.
 * - `processing`: the customer finished, and the money is on its way (bank debits take days).
 * - `expired`, `failed`: no money arrived. If Stripe reports a payment later, that still counts.
 * - `needs_review`: what Stripe reports contradicts the quote. Nothing is credited, and an operator has to decide.
 * - `rejected`: an operator decided that it brings no credit. What was paid was refunded or settled elsewhere.
 * - `paid`: the credit is in the wallet. Refunds and disputes do not change this status; they are separate transfers.
 */
export const TOP_UP_TRANSITIONS = {
  created: ['pending', 'processing', 'paid', 'expired', 'failed', 'needs_review'],
  pending: ['processing', 'paid', 'expired', 'failed', 'needs_review'],
  processing: ['paid', 'expired', 'failed', 'needs_review'],
  expired: ['paid', 'needs_review'],
  failed: ['paid', 'needs_review'],
  needs_review: ['paid', 'rejected'],
  rejected: [],
  paid: [],
} as const satisfies Record<string, readonly string[]>;

export type TopUpStatus = keyof typeof TOP_UP_TRANSITIONS;

export const TOP_UP_STATUSES = Object.keys(TOP_UP_TRANSITIONS) as readonly TopUpStatus[];

/** The statuses in which Stripe may still report a change. */
export const OPEN_STATUSES = ['created', 'pending', 'processing'] as const satisfies readonly TopUpStatus[];

export function canMove(from: TopUpStatus, to: TopUpStatus): boolean {
  const targets: readonly string[] = TOP_UP_TRANSITIONS[from];
  return targets.includes(to);
}

/** Every status from which a top-up may become `to`. */
export function findSourceStatuses(to: TopUpStatus): readonly TopUpStatus[] {
  return TOP_UP_STATUSES.filter((from) => canMove(from, to));
}
