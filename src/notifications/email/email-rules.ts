import type { MailNotSentError } from './mail-transport.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Waits before the second attempt, the third ...: two days. An alert that is older helps nobody. */
export const EMAIL_RETRY_DELAYS_MS = [
  MINUTE_MS,
  5 * MINUTE_MS,
  30 * MINUTE_MS,
  2 * HOUR_MS,
  6 * HOUR_MS,
  15 * HOUR_MS,
  24 * HOUR_MS,
] as const;

/**
 * When to try again; null: not any more.
 *
 * @param attempt 1 for the first one.
 */
export function nextEmailAttempt(
  { permanent }: Pick<MailNotSentError, 'permanent'>,
  attempt: number,
  nowMs: number,
): Date | null {
  const delayMs = permanent ? undefined : EMAIL_RETRY_DELAYS_MS[attempt - 1];
  return delayMs === undefined ? null : new Date(nowMs + delayMs);
}
