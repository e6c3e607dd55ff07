import type { MailNotSentError } from '../email/mail-transport.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Waits before the second attempt, the third and so on, about two days in all. An older alert is of no use. */
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
 * Returns when the next attempt is due, or null when there is none.
 *
 * @param attempt the number of the attempt that failed, from 1.
 */
export function nextEmailAttempt(
  { permanent }: Pick<MailNotSentError, 'permanent'>,
  attempt: number,
  nowMs: number,
): Date | null {
  const delayMs = permanent ? undefined : EMAIL_RETRY_DELAYS_MS[attempt - 1];
  return delayMs === undefined ? null : new Date(nowMs + delayMs);
}
