/**
 * The life of a refund. It only moves forward, so late, repeated and reordered events change nothing:
 *
 * - `created`: the row is written. Its credit may have left the wallet, and with `submittedAt` Stripe may have been asked; the job
 *   continues it.
 * - `refused`: the wallet did not have the credit any more, so Stripe was never asked. Nothing moved.
 * - `pending`: Stripe has accepted it; some payment methods take days.
 * - `succeeded`: the customer has the money back.
 * - `failing`: Stripe refused it, or the bank sent it back, which may happen days after success. From here on its money counts as
 *   the payment's again; the credit is not in the wallet yet. To customers it is `pending`.
 * - `failed`: the credit is in the wallet again.
 * - `needs_review`: earlier releases left a refund of spent credit there. The job continues it. Its money is gone, so what the wallet
 *   does not have becomes debt.
 */
export const REFUND_TRANSITIONS = {
  // A process of an earlier release still moves some to `needs_review` while this one is rolled out.
  created: ['refused', 'pending', 'succeeded', 'failing', 'needs_review'],
  pending: ['succeeded', 'failing'],
  succeeded: ['failing'],
  failing: ['failed'],
  failed: [],
  refused: [],
  needs_review: ['pending', 'succeeded', 'failing'],
} as const satisfies Record<string, readonly string[]>;

export type RefundStatus = keyof typeof REFUND_TRANSITIONS;

/** What customers see. Until the credit is in the wallet again, a refund that fails is under way. */
export type PublishedStatus = Exclude<RefundStatus, 'failing'>;

export const REFUND_STATUSES = Object.keys(REFUND_TRANSITIONS) as readonly RefundStatus[];

/** The statuses that `refund_sweep` continues. What is `failing` is decided, and `movement_booking` books it. */
export const OPEN_STATUSES = [
  'created',
  'pending',
  'needs_review',
] as const satisfies readonly RefundStatus[];

/** The statuses that count against the top-up: the money is being refunded, or was. */
export const COUNTED_STATUSES = [
  'created',
  'pending',
  'succeeded',
  'needs_review',
] as const satisfies readonly RefundStatus[];

/** Every status from which a refund may become `to`. */
export function findRefundSourceStatuses(to: RefundStatus): readonly RefundStatus[] {
  return REFUND_STATUSES.filter((from) => (REFUND_TRANSITIONS[from] as readonly RefundStatus[]).includes(to));
}
