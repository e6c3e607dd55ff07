import { FairWaiting, WaitedTooLongError, type Next, type Wait } from './fair-waiting.js';

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

  waitingOf(owner: string): number {
    return this.waiters.sizeOf(owner);
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
    if (this.waitingOf(owner) >= waitersPerOwnerMax) throw new NoSlotError('owner_queue_full');
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
