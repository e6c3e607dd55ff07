import { setMaxListeners } from 'node:events';
import { FairQueue } from './fair-queue.js';

export type Wait = {
  /** The longest wait; without a limit when absent. */
  readonly maxMs?: number;
  /** Ends the wait. */
  readonly signal?: AbortSignal;
};

/** The wait was longer than allowed. */
export class WaitedTooLongError extends Error {
  constructor(maxMs: number) {
    super(`waited for ${maxMs} ms`);
    this.name = 'WaitedTooLongError';
  }
}

export type Next<T> = { readonly owner: string; readonly wish: T; readonly admit: () => void };

type Waiter<T> = { readonly wish: T; readonly admit: () => void };

/** Callers that wait until they are admitted, in the order of a `FairQueue`. The owner of this object decides when the next one is admitted. */
export class FairWaiting<T> {
  private readonly queue = new FairQueue<Waiter<T>>();

  get size(): number {
    return this.queue.size;
  }

  sizeOf(owner: string): number {
    return this.queue.sizeOf(owner);
  }

  owners(): Iterable<string> {
    return this.queue.owners();
  }

  /** Resolves when the caller is admitted. Rejects with `WaitedTooLongError`, or with the reason of the signal. */
  wait(owner: string, wish: T, { maxMs, signal }: Wait): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
    // The images of one call wait at the same time, each with its own listener: Node would warn of a leak.
    if (signal !== undefined) setMaxListeners(0, signal);
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const end = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
      };
      const waiter: Waiter<T> = {
        wish,
        admit: () => {
          end();
          resolve();
        },
      };
      const giveUp = (reason: Error): void => {
        end();
        this.queue.remove(owner, waiter);
        reject(reason);
      };
      const abort = (): void => giveUp(signal?.reason as Error);
      this.queue.add(owner, waiter);
      signal?.addEventListener('abort', abort, { once: true });
      if (maxMs !== undefined) timer = setTimeout(() => giveUp(new WaitedTooLongError(maxMs)), maxMs);
    });
  }

  /** Returns the request of the next caller, among the eligible owners; null when there is none. */
  next(isEligible?: (owner: string, wish: T) => boolean): Next<T> | null {
    const next = this.queue.peek(isEligible && ((owner, { wish }) => isEligible(owner, wish)));
    if (next === null) return null;
    const { owner, item } = next;
    const admit = (): void => {
      this.queue.take(next);
      item.admit();
    };
    return { owner, wish: item.wish, admit };
  }
}
