import { setMaxListeners } from 'node:events';

export type FairSlotLimits = {
  readonly slots: number;
  /** How many one owner may have, even while others are free; all of them when absent. */
  readonly slotsPerOwnerMax?: number;
  /** How many requests of all owners may wait; the next one is refused at once. */
  readonly waitersMax: number;
  /** How many requests of one owner may wait, so that it cannot fill the queue alone. */
  readonly waitersPerOwnerMax: number;
};

/** Who asks for slots, and for how many. */
export type SlotRequest = {
  /** Slots are shared evenly between owners. */
  readonly owner: string;
  /** The requests of one call that arrive at the same moment are queued as a whole or not at all. */
  readonly call: string;
  /** How many slots it takes, at most all that its owner may have; one when absent. */
  readonly slots?: number;
};

/** No slot is free, and the queue is full. */
export class NoSlotError extends Error {
  constructor(
    readonly reason: 'queue_full' | 'owner_queue_full' | 'waited_too_long',
    options?: ErrorOptions,
  ) {
    super(`no slot: ${reason}`, options);
    this.name = 'NoSlotError';
  }
}

/**
 * Slots that owners share. An owner that is alone may use all of them, or as many as `slotsPerOwnerMax` allows. While others wait, a
 * free slot goes to the next owner that has less than an even share, and to the next owner of any when there is none. No slot stays
 * free while a waiting request may use it, except when the next request takes several slots and fewer are free; no request overtakes
 * it then. So an owner that fills every slot with slow work gives them up one by one to the others.
 */
export class FairSlots {
  private readonly running = new Map<string, number>();
  private readonly waiters = new FairWaiting<SlotRequest>();
  private readonly perOwnerMax: number;
  private free: number;
  /** The call that was queued last, which may queue the rest of its work beyond the limits. */
  private lastQueuedCall: string | null = null;

  constructor(private readonly limits: FairSlotLimits) {
    this.free = limits.slots;
    this.perOwnerMax = limits.slotsPerOwnerMax ?? limits.slots;
  }

  get waiting(): number {
    return this.waiters.size;
  }

  countWaiting(owner: string): number {
    return this.waiters.countFor(owner);
  }

  /** Runs `work` in a slot. Throws `NoSlotError`, or the reason of the signal when it aborts before there is a slot. */
  async run<T>(request: SlotRequest, work: () => Promise<T>, wait: Wait = {}): Promise<T> {
    wait.signal?.throwIfAborted();
    if (this.mayStart(request)) this.start(request);
    else await this.waitForSlot(request, wait);
    try {
      return await work();
    } finally {
      this.end(request);
    }
  }

  private async waitForSlot(request: SlotRequest, wait: Wait): Promise<void> {
    const { owner, call } = request;
    if (this.lastQueuedCall !== call) this.refuseBeyondLimits(owner);
    this.lastQueuedCall = call;
    try {
      await this.waiters.wait(owner, request, wait);
    } catch (error) {
      // The removed request may have been next, and the one after it may need fewer slots.
      this.admitWaiting();
      if (!(error instanceof WaitedTooLongError)) throw error;
      throw new NoSlotError('waited_too_long', { cause: error });
    }
  }

  private refuseBeyondLimits(owner: string): void {
    const { waitersMax, waitersPerOwnerMax } = this.limits;
    if (this.countWaiting(owner) >= waitersPerOwnerMax) throw new NoSlotError('owner_queue_full');
    if (this.waiting >= waitersMax) throw new NoSlotError('queue_full');
  }

  private start(request: SlotRequest): void {
    const slots = this.countSlots(request);
    this.free -= slots;
    this.running.set(request.owner, this.countRunning(request.owner) + slots);
  }

  private end(request: SlotRequest): void {
    const slots = this.countSlots(request);
    this.free += slots;
    const left = this.countRunning(request.owner) - slots;
    if (left > 0) this.running.set(request.owner, left);
    else this.running.delete(request.owner);
    this.admitWaiting();
  }

  /** No request overtakes one that waits for slots. A request that waits for others of its own owner delays no other owner. */
  private mayStart(request: SlotRequest): boolean {
    const { owner } = request;
    if (this.countSlots(request) > this.free || !this.fits(owner, request, this.perOwnerMax)) return false;
    return this.next(this.perOwnerMax) === null;
  }

  private admitWaiting(): void {
    for (;;) {
      const owners = new Set([...this.running.keys(), ...this.waiters.owners()]);
      const share = Math.min(Math.ceil(this.limits.slots / owners.size), this.perOwnerMax);
      const next =
        this.waiters.next(
          (owner, wish) => this.countRunning(owner) < share && this.fits(owner, wish, this.perOwnerMax),
        ) ?? this.next(this.perOwnerMax);
      if (next === null || this.countSlots(next.wish) > this.free) return;
      this.start(next.wish);
      next.admit();
    }
  }

  /** Returns the next request, among the owners that would then have at most `slotsMax` slots. */
  private next(slotsMax: number): Next<SlotRequest> | null {
    return this.waiters.next((owner, wish) => this.fits(owner, wish, slotsMax));
  }

  private fits(owner: string, wish: SlotRequest, slotsMax: number): boolean {
    return this.countRunning(owner) + this.countSlots(wish) <= slotsMax;
  }

  private countSlots({ slots = 1 }: SlotRequest): number {
    return Math.min(slots, this.perOwnerMax);
  }

  private countRunning(owner: string): number {
    return this.running.get(owner) ?? 0;
  }
}

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

  countFor(owner: string): number {
    return this.queue.countFor(owner);
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

export type Queued<T> = { readonly owner: string; readonly item: T };

/**
 * Waiting items, in one queue for each owner. Owners are served round robin, one item each; the items of one owner keep
 * their order. So between two items of a waiting owner, every other owner has at most one. This class decides only the
 * order: it knows no clock, no slots and no promises.
 */
export class FairQueue<T> {
  /** In the order in which owners are served. A new owner is added at the end, and an owner that was served moves there. */
  private readonly queues = new Map<string, Set<T>>();
  private count = 0;

  /** The number of items of all owners. */
  get size(): number {
    return this.count;
  }

  countFor(owner: string): number {
    return this.queues.get(owner)?.size ?? 0;
  }

  /** The owners with at least one item. */
  owners(): Iterable<string> {
    return this.queues.keys();
  }

  /** @param item must be distinct from all other waiting items. */
  add(owner: string, item: T): void {
    const queue = this.queues.get(owner) ?? new Set<T>();
    this.queues.set(owner, queue.add(item));
    this.count += 1;
  }

  /** Returns the first item of the next owner, or of the next eligible owner; null when there is none. It stays in the queue. */
  peek(isEligible: (owner: string, item: T) => boolean = () => true): Queued<T> | null {
    for (const [owner, queue] of this.queues) {
      for (const item of queue) {
        if (isEligible(owner, item)) return { owner, item };
        break;
      }
    }
    return null;
  }

  /** Removes an item that is served: its owner moves to the end. */
  take({ owner, item }: Queued<T>): void {
    const queue = this.queues.get(owner);
    if (!this.remove(owner, item) || queue === undefined || queue.size === 0) return;
    this.queues.delete(owner);
    this.queues.set(owner, queue);
  }

  /** Removes an item that no longer waits: its owner keeps its position. Returns false when the item is not in the queue. */
  remove(owner: string, item: T): boolean {
    const queue = this.queues.get(owner);
    if (queue?.delete(item) !== true) return false;
    this.count -= 1;
    if (queue.size === 0) this.queues.delete(owner);
    return true;
  }
}
