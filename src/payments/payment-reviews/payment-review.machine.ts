/**
 * The life of a payment under review:
 *
 * - `open`: the payment contradicts the quote, or the top-up was paid before. Nothing is credited.
 * - `returning`: an operator refunds it in full. The request may have been sent to Stripe.
 * - `returned`: it was refunded to the customer.
 * - `failed`: Stripe refused the refund, or the bank rejected it, which may happen days later; or a bank took the payment, or
 *   gave it back, after the decision. An operator has to decide again.
 * - `dismissed`: an operator settled it elsewhere. Only a later movement of money opens it again.
 * - `credited`: Stripe's later report agrees with the quote, and the payment was credited like any other.
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
export function findReviewSourceStatuses(to: PaymentReviewStatus): readonly PaymentReviewStatus[] {
  return PAYMENT_REVIEW_STATUSES.filter((from) =>
    (PAYMENT_REVIEW_TRANSITIONS[from] as readonly PaymentReviewStatus[]).includes(to),
  );
}
