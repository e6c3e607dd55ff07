import { Problem } from '../../platform/errors/problem.js';
import type { Usage } from './rate-limit-policies.js';

/** Some SDK versions sleep longer waits out and others ignore them; no window here is longer. */
const RETRY_AFTER_MIN_SECONDS = 1;
const RETRY_AFTER_MAX_SECONDS = 60;

/** As long as a usual image takes: after this wait, a slot has probably been released. */
const RUNNING_CALL_SECONDS = 3;

export class RateLimitExceededError extends Problem {
  readonly code = 'rate_limit_exceeded';
  /** @param usage the limit that refused; its name is in the `RateLimit-Policy` header. */
  constructor({ limit, max, resetMs }: Pick<Usage, 'limit' | 'max' | 'resetMs'>) {
    super(
      `Too many requests: the limit '${limit}' is ${max} a minute. Nothing was charged; retry after the time in Retry-After.`,
      { details: { limit }, retryAfterSeconds: toRetryAfter(resetMs) },
    );
  }
}

export class ImageLimitExceededError extends Problem {
  readonly code = 'rate_limit_exceeded';
  /** @param images how many were asked for: all are refused, so that no call delivers fewer than it could have. */
  constructor({ limit, max, remaining, resetMs }: Usage, images: number) {
    // Waiting never allows more than the limit itself.
    const isHopeless = images > max;
    super(
      `Too many images: the limit '${limit}' is ${max} a minute, ${remaining} are left, and ${images} were asked for. ` +
        `Nothing was charged; ${isHopeless ? `ask for at most ${max}` : 'ask for fewer, or retry after the time in Retry-After'}.`,
      {
        param: 'n',
        details: { limit, max, remaining },
        retryAfterSeconds: toRetryAfter(resetMs),
        shouldRetry: isHopeless ? false : undefined,
      },
    );
  }
}

export class ConcurrencyLimitExceededError extends Problem {
  readonly code = 'concurrency_limit_exceeded';
  constructor({ limit, max }: Usage) {
    super(
      `Too many calls at the same time: the limit '${limit}' is ${max}. Nothing was charged; retry when another call is answered.`,
      { details: { limit, max }, retryAfterSeconds: RUNNING_CALL_SECONDS },
    );
  }
}

/** Other requests of the same account are being worked on, and as many as allowed already wait. */
export class AccountBusyError extends Problem {
  readonly code = 'concurrency_limit_exceeded';
  constructor(waitingMax: number) {
    super(
      `Too many requests at the same time: ${waitingMax} of this account wait for others to be answered. Nothing was ` +
        'charged; retry when one of them is.',
      { details: { max: waitingMax }, retryAfterSeconds: RETRY_AFTER_MIN_SECONDS },
    );
  }
}

/** The bodies of its other requests are still arriving. */
export class BodiesBusyError extends Problem {
  readonly code = 'concurrency_limit_exceeded';
  constructor() {
    super(
      'Too many large requests of this account, or from this address, are being sent at the same time. Nothing was charged; ' +
        'retry when one of them is answered.',
      { retryAfterSeconds: RETRY_AFTER_MIN_SECONDS },
    );
  }
}

function toRetryAfter(waitMs: number | null): number {
  const seconds = Math.ceil((waitMs ?? 0) / 1_000);
  return Math.min(Math.max(seconds, RETRY_AFTER_MIN_SECONDS), RETRY_AFTER_MAX_SECONDS);
}
