import { Problem } from '../problems/problem.js';

/** Some SDK versions sleep longer waits out and others ignore them; no window of ours is longer. */
const RETRY_AFTER_MIN_SECONDS = 1;
const RETRY_AFTER_MAX_SECONDS = 60;

export class RateLimitExceededError extends Problem {
  readonly code = 'rate_limit_exceeded';
  /**
   * @param limit which limit, as in the `RateLimit-Policy` header.
   * @param waitMs until requests are accepted again.
   */
  constructor(limit: string, requestsPerMinute: number, waitMs: number) {
    super(
      `Too many requests: the limit '${limit}' is ${requestsPerMinute} a minute. Nothing was charged; retry after the time in Retry-After.`,
      { details: { limit }, retryAfterSeconds: toRetryAfter(waitMs) },
    );
  }
}

function toRetryAfter(waitMs: number): number {
  const seconds = Math.ceil(waitMs / 1_000);
  return Math.min(Math.max(seconds, RETRY_AFTER_MIN_SECONDS), RETRY_AFTER_MAX_SECONDS);
}
