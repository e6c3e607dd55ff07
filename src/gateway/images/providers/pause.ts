import { setTimeout as sleep } from 'node:timers/promises';

/** Sleeps; throws `failure()` as soon as `signal` aborts, or at once when it has. */
export async function pause(delayMs: number, signal: AbortSignal, failure: () => Error): Promise<void> {
  if (signal.aborted) throw failure();
  await sleep(delayMs, undefined, { signal }).catch(() => {
    throw failure();
  });
}
