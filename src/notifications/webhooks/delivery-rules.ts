/** What became of one attempt, as far as it matters: what the receiver answers beyond its status is its own business. */
export type AttemptOutcome =
  | { readonly kind: 'answered'; readonly status: number; readonly retryAfter: string | null }
  | { readonly kind: 'failed'; readonly error: AttemptError };

/** Why no answer came. Words, never the network's own message: that would describe the inside of our network. */
export const ATTEMPT_ERRORS = [
  /** No answer within the time limit. */
  'timeout',
  /** The host name leads nowhere. */
  'host_not_found',
  /** The host leads to an address that is not on the public internet, or the URL is not allowed any more. */
  'address_refused',
  /** No TLS connection: an expired, foreign or self-signed certificate. */
  'tls_failed',
  /** Refused, reset, or cut off. */
  'connection_failed',
] as const;

export type AttemptError = (typeof ATTEMPT_ERRORS)[number];

export type Verdict =
  | { readonly kind: 'succeeded' }
  | { readonly kind: 'retry'; readonly atMs: number }
  | { readonly kind: 'given_up' }
  /** 410: the receiver wants nothing more, ever. */
  | { readonly kind: 'gone' };

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** Waits before the second attempt, the third ...: Standard Webhooks' own schedule, a little over three days. */
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

/** Up to a tenth later, so that what failed together does not come back together. */
const JITTER_SHARE = 0.1;
/** A receiver may ask for patience, but not put a delivery off for ever. */
const RETRY_AFTER_MAX_MS = 24 * HOUR_MS;
/** Failing this long without a single success, an endpoint is disabled. */
export const FAILING_LIMIT_MS = 5 * 24 * HOUR_MS;
/** No attempt for this long says nothing about an endpoint: the next failure is the first of a new row. */
export const FAILING_MEMORY_MS = 2 * 24 * HOUR_MS;

const GONE = 410;

/**
 * What follows from an attempt.
 *
 * @param attempt 1 for the first one of this round.
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

/** Seconds or an HTTP date (RFC 9110, 10.2.3); anything else is no wish. */
function retryAfterMs(header: string | null, nowMs: number): number {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Math.min(Number(text) * SECOND_MS, RETRY_AFTER_MAX_MS);
  if (!HTTP_DATE.test(text)) return 0;
  const atMs = Date.parse(text);
  return Number.isNaN(atMs) ? 0 : Math.min(Math.max(atMs - nowMs, 0), RETRY_AFTER_MAX_MS);
}

export type EndpointHealth = {
  /** The first failure of the row that still lasts; null: the last attempt succeeded, or there was none. */
  readonly failingSince: Date | null;
  readonly lastFailedAt: Date | null;
};

/** How an endpoint's record goes on after a failed attempt, and whether it has failed for long enough. */
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
