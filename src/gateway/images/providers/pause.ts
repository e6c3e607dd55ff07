import { setTimeout as sleep } from 'node:timers/promises';

/** Waits for `delayMs`. Throws `failure()` as soon as `signal` aborts, or at once if it is aborted already. */
export async function pause(delayMs: number, signal: AbortSignal, failure: () => Error): Promise<void> {
  if (signal.aborted) throw failure();
  await sleep(delayMs, undefined, { signal }).catch(() => {
    throw failure();
  });
}
