import { setTimeout as sleep } from 'node:timers/promises';

/** Between two checks of an attempt of another process: soon at first, since most attempts have ended or end at once. */
const CHECK_MIN_MS = 100;
const CHECK_MAX_MS = 1_000;

/** The pauses between checks, each twice as long as the one before, up to the longest. */
export function backOff(): () => number {
  let nextMs = CHECK_MIN_MS;
  return () => {
    const pauseMs = nextMs;
    nextMs = Math.min(2 * nextMs, CHECK_MAX_MS);
    return pauseMs;
  };
}

/** Resolves with the first of these to happen, or when the time is over; leaves no timer behind. */
export async function firstOf(
  ended: Promise<unknown> | null,
  left: Promise<unknown>,
  waitMs: number,
): Promise<void> {
  const waiting = new AbortController();
  const late = sleep(waitMs, null, { signal: waiting.signal }).catch(() => null);
  await Promise.race([...(ended === null ? [] : [ended]), left, late]);
  waiting.abort();
}
