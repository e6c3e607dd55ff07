/**
 * The life of a top-up. It only moves forward, so late, repeated and reordered news change nothing:
 *
 * - `created`: written here; Stripe was not asked yet, or its answer is unknown.
 * - `pending`: the payment page is open.
 * - `processing`: the customer finished, the money is on its way (bank debits take days).
 * - `expired`, `failed`: no money came. Stripe's later word that it did come still counts.
 * - `needs_review`: what Stripe tells contradicts what was quoted. Nothing is credited; a person has to look.
 * - `rejected`: a person looked, and it brings no credit; what was paid went back, or was settled elsewhere.
 * - `paid`: the credit is in the wallet. Refunds and disputes are no steps back; they are transfers of their own.
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

/** Where something may still come from Stripe. */
export const OPEN_STATUSES = ['created', 'pending', 'processing'] as const satisfies readonly TopUpStatus[];

export function canMove(from: TopUpStatus, to: TopUpStatus): boolean {
  const targets: readonly string[] = TOP_UP_TRANSITIONS[from];
  return targets.includes(to);
}

/** Every status from which a top-up may become `to`. */
export function sourcesOf(to: TopUpStatus): readonly TopUpStatus[] {
  return TOP_UP_STATUSES.filter((from) => canMove(from, to));
}
