import { Problem } from '../../platform/errors/problem.js';
import type { PaymentReviewStatus } from './payment-review.machine.js';

/** 409: somebody decided before, or Stripe's later word did. */
export class PaymentReviewResolvedError extends Problem {
  readonly code = 'payment_review_resolved';
  constructor(id: string, status: PaymentReviewStatus) {
    super(`${id} is ${status} by now. Nothing was moved.`, { details: { payment_review: id, status } });
  }
}

/** 409: Stripe names no money of it. */
export class PaymentNotReturnableError extends Problem {
  readonly code = 'payment_not_returnable';
  constructor(id: string) {
    super(`Nothing was paid for ${id} that could be sent back. Nothing was moved. Dismiss it instead.`, {
      details: { payment_review: id },
    });
  }
}

/** 409: Stripe does not send it back, for instance because it was disputed or sent back before. */
export class PaymentReturnRefusedError extends Problem {
  readonly code = 'payment_return_refused';
  constructor(id: string, providerCode: string, cause: unknown) {
    super(
      `The payment provider refused to send the payment back (${providerCode}). It is under review again: look at ` +
        'it in Stripe, then return or dismiss it.',
      { cause, details: { payment_review: id, provider_code: providerCode }, shouldRetry: false },
    );
  }
}
