import { ProviderFailure } from './provider-failure.js';

type Waiter = { readonly enter: () => void; readonly timer: NodeJS.Timeout };

export type TaskSlotLimits = {
  /** Tasks that the upstream account may have in the making at the same time. */
  readonly slots: number;
  /** Callers that may wait; the next one is refused at once. */
  readonly waitersMax: number;
  readonly waitMaxMs: number;
  /** What a refused caller is told to wait. */
  readonly retryAfterSeconds: number;
};

/** The places of one upstream account, first come, first served. Waiting is short and bounded. */
export class TaskSlots {
  private free: number;
  private readonly waiters = new Set<Waiter>();

  constructor(private readonly limits: TaskSlotLimits) {
    this.free = limits.slots;
  }

  get waiting(): number {
    return this.waiters.size;
  }

  /**
   * Runs `work` in a slot. Throws `ProviderFailure` (`saturated`) when none came free within `waitMaxMs`, or the
   * limit of these slots, whichever is shorter.
   */
  async run<T>(work: () => Promise<T>, waitMaxMs = Number.POSITIVE_INFINITY): Promise<T> {
    if (this.free > 0) this.free -= 1;
    else await this.waitForSlot(Math.min(waitMaxMs, this.limits.waitMaxMs));
    try {
      return await work();
    } finally {
      this.passOn();
    }
  }

  private waitForSlot(waitMaxMs: number): Promise<void> {
    const { waitersMax, retryAfterSeconds } = this.limits;
    const saturated = () =>
      new ProviderFailure('saturated', 'every task slot of the upstream account is taken', {
        retryAfterSeconds,
      });
    if (this.waiters.size >= waitersMax) return Promise.reject(saturated());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiters.delete(waiter);
        reject(saturated());
      }, waitMaxMs);
      const waiter: Waiter = { enter: resolve, timer };
      this.waiters.add(waiter);
    });
  }

  /** Hands the slot to whoever waits longest; a `Set` keeps the order of arrival. */
  private passOn(): void {
    const [next] = this.waiters;
    if (next === undefined) {
      this.free += 1;
      return;
    }
    this.waiters.delete(next);
    clearTimeout(next.timer);
    next.enter();
  }
}
