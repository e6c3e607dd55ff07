import {
  centsToMicros,
  formatUsd,
  formatMicros,
  larger,
  subtract,
  ZERO,
  type MicroUsd,
} from '../../platform/common/money.js';
import type { TopUpSettings, TopUpLimitSettings } from '../../platform/config/settings.js';
import { Problem, type ProblemOptions } from '../../platform/errors/problem.js';
import { toUnixSeconds } from '../../platform/common/clock.js';

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

/** The owner of the count that reached its limit. */
export type LimitScope = 'account' | 'address';

export type FullCount = {
  readonly scope: LimitScope;
  readonly max: number;
  /** When the oldest counted attempt becomes a day old. */
  readonly retryAt: Date;
  readonly now: Date;
};

/** Some SDK versions wait out a longer `Retry-After` and others ignore it, so the header is capped and the body has the true time. */
const RETRY_AFTER_MAX_SECONDS = 60;
const SECOND_MS = 1_000;

/** 429: the account or its network address requested as many payment pages as a day allows. */
export class TooManyTopUpsError extends Problem {
  readonly code = 'too_many_top_ups';
  constructor(full: FullCount) {
    super(
      `This ${toScopeName(full.scope)} asked for ${full.max} top-ups within a day, and no more are taken. Nothing was ` +
        `charged. Pay one that is still open, or ask again after ${full.retryAt.toISOString()}.`,
      toWaitOptions(full),
    );
  }
}

/** 429: too many cards were refused. The open payment pages are closed as well. */
export class TooManyFailedPaymentsError extends Problem {
  readonly code = 'too_many_failed_payments';
  constructor(full: FullCount) {
    super(
      `${full.max} payments of this ${toScopeName(full.scope)} were refused within a day, so no payment page is opened. ` +
        `Nothing was charged. Ask the bank why, and ask again after ${full.retryAt.toISOString()}.`,
      toWaitOptions(full),
    );
  }
}

function toScopeName(scope: LimitScope): string {
  return scope === 'account' ? 'account' : 'network address';
}

function toWaitOptions({ scope, max, retryAt, now }: FullCount): ProblemOptions {
  const seconds = Math.max(1, Math.ceil((retryAt.getTime() - now.getTime()) / SECOND_MS));
  return {
    details: {
      limit_scope: scope,
      limit_per_day: max,
      retry_at: Math.ceil(retryAt.getTime() / SECOND_MS),
    },
    retryAfterSeconds: Math.min(seconds, RETRY_AFTER_MAX_SECONDS),
    shouldRetry: seconds <= RETRY_AFTER_MAX_SECONDS,
  };
}

/** What an account bought while it is new, without the top-up that is being checked. */
export type FirstTopUps = {
  /** The number of top-ups that are paid or can still be paid. */
  readonly count: number;
  readonly creditMicros: MicroUsd;
  /** When the limits end; null until the first payment. */
  readonly endsAt: Date | null;
};

/** 403: an account can buy little until its first payment is a day old, so that a stolen card buys little. */
export class FirstTopUpLimitError extends Problem {
  readonly code = 'first_top_up_limit';
  constructor(
    used: FirstTopUps,
    { firstMaxCents, firstMaxCount }: Pick<TopUpLimitSettings, 'firstMaxCents' | 'firstMaxCount'>,
  ) {
    const maxMicros = centsToMicros(firstMaxCents);
    const leftMicros = larger(subtract(maxMicros, used.creditMicros), ZERO);
    const countLeft = Math.max(firstMaxCount - used.count, 0);
    const end = used.endsAt === null ? 'a day after the first payment' : `at ${used.endsAt.toISOString()}`;
    super(
      `Until its first payment is a day old an account buys at most ${formatUsd(maxMicros)} of credit, in ` +
        `${firstMaxCount} top-ups; ${formatUsd(leftMicros)} in ${countLeft} are left. Nothing was charged. Ask for ` +
        `less, or let open payment pages expire; the limit ends ${end}.`,
      {
        param: 'credit_cents',
        details: {
          max_micros: formatMicros(maxMicros),
          remaining_micros: formatMicros(leftMicros),
          max_count: firstMaxCount,
          remaining_count: countLeft,
          ends_at: used.endsAt === null ? null : toUnixSeconds(used.endsAt),
        },
        shouldRetry: false,
      },
    );
  }
}
