import { setTimeout as sleep } from 'node:timers/promises';

/** The pause between two checks of an attempt in another process. It is short at first, because most attempts end soon. */
const CHECK_MIN_MS = 100;
const CHECK_MAX_MS = 1_000;

/** Returns a function that gives the next pause in milliseconds: each is twice as long as the one before, up to the longest. */
export function createBackOff(): () => number {
  let nextMs = CHECK_MIN_MS;
  return () => {
    const pauseMs = nextMs;
    nextMs = Math.min(2 * nextMs, CHECK_MAX_MS);
    return pauseMs;
  };
}

/** Resolves when the first of these promises resolves or the time is over, and clears its timer. */
export async function waitForFirst(
  ended: Promise<unknown> | null,
  left: Promise<unknown>,
  waitMs: number,
): Promise<void> {
  const waiting = new AbortController();
  const late = sleep(waitMs, null, { signal: waiting.signal }).catch(() => null);
  await Promise.race([...(ended === null ? [] : [ended]), left, late]);
  waiting.abort();
}
