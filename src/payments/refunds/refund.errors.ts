import { centsToMicros, formatUsd, type UsdCents } from '../../platform/common/money.js';
import { Problem } from '../../platform/errors/problem.js';

/** 409: the top-up was never paid, or cannot be refunded to where it was paid from. */
export class TopUpNotRefundableError extends Problem {
  readonly code = 'top_up_not_refundable';
  constructor(topUpId: string, why: string) {
    super(`${topUpId} cannot be refunded: ${why}. Nothing was moved.`, { details: { top_up: topUpId } });
  }
}

/** 409: the time in which a customer may request it is over; support may still do it. */
export class RefundWindowOverError extends Problem {
  readonly code = 'refund_window_over';
  constructor(topUpId: string, windowDays: number) {
    super(
      `${topUpId} was paid more than ${windowDays} days ago. Nothing was moved. Ask support for a refund.`,
      { details: { top_up: topUpId, window_days: windowDays } },
    );
  }
}

/** 409: the amount is more than is left of the payment, or than is unspent in the wallet. */
export class RefundExceedsCreditError extends Problem {
  readonly code = 'refund_exceeds_credit';
  constructor(refundableCents: UsdCents) {
    super(
      `At most ${formatUsd(centsToMicros(refundableCents))} of credit can be refunded now. Nothing was moved.`,
      { param: 'credit_cents', details: { refundable_cents: Number(refundableCents) } },
    );
  }
}

/**
 * 409: money of the account came back or was taken while the refund was begun, so what may go to a card was not certain. The credit
 * is in the wallet, as far as nothing else has taken it.
 */
export class RefundInterruptedError extends Problem {
  readonly code = 'refund_interrupted';
  constructor(refundId: string) {
    super(
      'A dispute or another refund of this account moved money at the same moment. No refund was made, and its credit is in the wallet. ' +
        'Check what can be refunded with a preview, and request it again with a new idempotency key.',
      { details: { refund: refundId }, shouldRetry: false },
    );
  }
}

/** 409: Stripe does not refund this payment, for instance because it is disputed. The credit is in the wallet again. */
export class RefundRefusedError extends Problem {
  readonly code = 'refund_refused';
  constructor(refundId: string, providerCode: string, cause: unknown) {
    super(
      `The payment provider refused the refund (${providerCode}). The credit is in the wallet again. Ask support.`,
      { cause, details: { refund: refundId, provider_code: providerCode }, shouldRetry: false },
    );
  }
}
