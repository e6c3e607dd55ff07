/**
 * The life of a payment under review:
 *
 * - `open`: Stripe's word contradicts the quote, or the top-up was paid before. Nothing is credited.
 * - `returning`: an operator sends it back in full; Stripe may have been asked.
 * - `returned`: the customer has it back.
 * - `failed`: Stripe would not, or the bank sent it back, which it may do days later; or a bank took the payment, or gave it
 *   back, after it was decided. A person has to decide again.
 * - `dismissed`: an operator settled it elsewhere. Only money that moves after that makes it wait again.
 * - `credited`: Stripe's later word agrees with the quote; it is a payment like any other.
 */
export const PAYMENT_REVIEW_TRANSITIONS = {
  open: ['returning', 'returned', 'dismissed', 'credited'],
  returning: ['returned', 'failed'],
  returned: ['failed'],
  failed: ['returning', 'returned', 'dismissed'],
  dismissed: ['open', 'failed'],
  credited: [],
} as const satisfies Record<string, readonly string[]>;

export type PaymentReviewStatus = keyof typeof PAYMENT_REVIEW_TRANSITIONS;

export const PAYMENT_REVIEW_STATUSES = Object.keys(
  PAYMENT_REVIEW_TRANSITIONS,
) as readonly PaymentReviewStatus[];

/** Every status from which a review may become `to`. */
export function reviewSourcesOf(to: PaymentReviewStatus): readonly PaymentReviewStatus[] {
  return PAYMENT_REVIEW_STATUSES.filter((from) =>
    (PAYMENT_REVIEW_TRANSITIONS[from] as readonly PaymentReviewStatus[]).includes(to),
  );
}
