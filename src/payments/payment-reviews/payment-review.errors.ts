import { Problem } from '../../platform/errors/problem.js';
import type { PaymentReviewStatus } from './payment-review.machine.js';

/** 409: another operator has decided already, or Stripe's later report has. */
export class PaymentReviewResolvedError extends Problem {
  readonly code = 'payment_review_resolved';
  constructor(id: string, status: PaymentReviewStatus) {
    super(`${id} is ${status} by now. This request changed nothing. Read the review again.`, {
      details: { payment_review: id, status },
    });
  }
}

/** 409: Stripe holds no money of this payment. */
export class PaymentNotReturnableError extends Problem {
  readonly code = 'payment_not_returnable';
  constructor(id: string) {
    super(
      `Nothing was paid for ${id} that could be refunded. This request changed nothing. Dismiss it instead.`,
      {
        details: { payment_review: id },
      },
    );
  }
}

/** 409: Stripe refuses the refund, for instance because the payment was disputed or refunded before. */
export class PaymentReturnRefusedError extends Problem {
  readonly code = 'payment_return_refused';
  constructor(id: string, providerCode: string, cause: unknown) {
    super(
      `The payment provider refused to refund the payment (${providerCode}). Nothing was refunded, and it is under ` +
        'review again. Check the payment in Stripe, then return or dismiss it.',
      { cause, details: { payment_review: id, provider_code: providerCode }, shouldRetry: false },
    );
  }
}
