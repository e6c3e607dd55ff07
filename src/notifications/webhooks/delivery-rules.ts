/** The outcome of one attempt. Only the status of the receiver's answer matters, and its body is ignored. */
export type AttemptOutcome =
  | { readonly kind: 'answered'; readonly status: number; readonly retryAfter: string | null }
  | { readonly kind: 'failed'; readonly error: AttemptError };

/** Why there was no answer. The codes are our own, because the network's message would describe the inside of our network. */
export const ATTEMPT_ERRORS = [
  /** No answer within the time limit. */
  'timeout',
  /** The host name does not resolve. */
  'host_not_found',
  /** The host resolves to an address that is not on the public internet, or the URL is not allowed any more. */
  'address_refused',
  /** The TLS connection failed, for instance because of an expired, foreign or self-signed certificate. */
  'tls_failed',
  /** The connection was refused, reset or closed. */
  'connection_failed',
] as const;

export type AttemptError = (typeof ATTEMPT_ERRORS)[number];

export type Verdict =
  | { readonly kind: 'succeeded' }
  | { readonly kind: 'retry'; readonly atMs: number }
  | { readonly kind: 'given_up' }
  /** The receiver answered 410, so it wants no more deliveries at all. */
  | { readonly kind: 'gone' };

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** Waits before the second attempt, the third and so on: the schedule of Standard Webhooks, a little over three days. */
export const RETRY_DELAYS_MS = [
  5 * SECOND_MS,
  5 * MINUTE_MS,
  30 * MINUTE_MS,
  2 * HOUR_MS,
  5 * HOUR_MS,
  10 * HOUR_MS,
  14 * HOUR_MS,
  20 * HOUR_MS,
  24 * HOUR_MS,
] as const;

/** Each wait is up to a tenth longer, so that deliveries that failed together are not repeated together. */
const JITTER_SHARE = 0.1;
/** A receiver may ask for a longer wait, but cannot delay a delivery without end. */
const RETRY_AFTER_MAX_MS = 24 * HOUR_MS;
/** An endpoint is disabled after it failed for this long without a single success. */
export const FAILING_LIMIT_MS = 5 * 24 * HOUR_MS;
/** After this long without attempts, the next failure is the first of a new series. */
export const FAILING_MEMORY_MS = 2 * 24 * HOUR_MS;

const GONE = 410;

/**
 * Decides what follows an attempt.
 *
 * @param attempt the number of the attempt since the last redelivery, from 1.
 * @param random from 0 to 1, for the jitter.
 */
export function judge(outcome: AttemptOutcome, attempt: number, nowMs: number, random: number): Verdict {
  if (outcome.kind === 'answered') {
    if (outcome.status >= 200 && outcome.status <= 299) return { kind: 'succeeded' };
    if (outcome.status === GONE) return { kind: 'gone' };
  }
  const delayMs = RETRY_DELAYS_MS[attempt - 1];
  if (delayMs === undefined) return { kind: 'given_up' };
  const wanted = outcome.kind === 'answered' ? retryAfterMs(outcome.retryAfter, nowMs) : 0;
  return { kind: 'retry', atMs: nowMs + Math.max(Math.round(delayMs * (1 + random * JITTER_SHARE)), wanted) };
}

const HTTP_DATE = /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/;

/** Reads seconds or an HTTP date (RFC 9110, 10.2.3). Anything else is ignored. */
function retryAfterMs(header: string | null, nowMs: number): number {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Math.min(Number(text) * SECOND_MS, RETRY_AFTER_MAX_MS);
  if (!HTTP_DATE.test(text)) return 0;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? 0 : Math.min(Math.max(atMs - nowMs, 0), RETRY_AFTER_MAX_MS);
}

export type EndpointHealth = {
  /** The first failure of the present series; null when the last attempt succeeded, or there was none. */
  readonly failingSince: Date | null;
  readonly lastFailedAt: Date | null;
};

/** Updates an endpoint's record after a failed attempt, and decides whether the endpoint has failed for long enough to be disabled. */
export function afterFailure(
  { failingSince, lastFailedAt }: EndpointHealth,
  nowMs: number,
): { readonly failingSince: Date; readonly lastFailedAt: Date; readonly hopeless: boolean } {
  const remembered = lastFailedAt !== null && nowMs - lastFailedAt.getTime() <= FAILING_MEMORY_MS;
  const since = remembered && failingSince !== null ? failingSince : new Date(nowMs);
  return {
    failingSince: since,
    lastFailedAt: new Date(nowMs),
    hopeless: nowMs - since.getTime() >= FAILING_LIMIT_MS,
  };
}
