import { centsToMicros, formatUsd } from '../../platform/common/money.js';
import type { TopUpSettings } from '../../platform/config/settings.js';
import { Problem } from '../../platform/errors/problem.js';

/** 400: the amount is below the minimum or above the maximum, or nothing is left after the fee. */
export class AmountOutOfRangeError extends Problem {
  readonly code = 'amount_out_of_range';
  constructor({ minCents, maxCents }: TopUpSettings) {
    super(
      `A top-up is from ${formatUsd(centsToMicros(minCents))} to ${formatUsd(centsToMicros(maxCents))}. ` +
        'Nothing was charged. Choose an amount in this range.',
      {
        param: 'credit_cents',
        details: { min_cents: Number(minCents), max_cents: Number(maxCents) },
      },
    );
  }
}

/** 422: the account used the key before, with another request. */
export class IdempotencyKeyReusedError extends Problem {
  readonly code = 'idempotency_key_reused';
  constructor() {
    super('This Idempotency-Key was used with another body. Nothing was charged. Choose a new key.', {
      param: 'Idempotency-Key',
      shouldRetry: false,
    });
  }
}

/** 503: Stripe refuses to open a payment page, and a retry would not help. The log has the reason. */
export class CheckoutRefusedError extends Problem {
  readonly code = 'payments_unavailable';
  constructor(topUpId: string, cause: unknown) {
    super(`The payment page for ${topUpId} could not be opened. Nothing was charged. Start a new top-up.`, {
      cause,
      details: { top_up: topUpId },
      shouldRetry: false,
    });
  }
}
