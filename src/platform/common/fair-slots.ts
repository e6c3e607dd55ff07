import { FairWaiting, WaitedTooLongError, type Next, type Wait } from './fair-waiting.js';

export type FairSlotLimits = {
  readonly slots: number;
  /** As many as one owner may have, even while others are free; all of them when absent. */
  readonly slotsPerOwnerMax?: number;
  /** Of all owners; the next one is refused at once. */
  readonly waitersMax: number;
  /** Of one owner, so that it cannot fill the queue alone. */
  readonly waitersPerOwnerMax: number;
};

/** For whom a slot is asked. */
export type SlotRequest = {
  /** Slots are shared evenly between owners. */
  readonly owner: string;
  /** What the owner asks for with one call is queued as a whole or not at all, when it is asked for at the same moment. */
  readonly call: string;
  /** How many slots it takes, at most all that its owner may have; one when absent. */
  readonly slots?: number;
};

/** No slot for now. */
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
 * Slots that owners share. An owner that is alone may use all of them, or as many as `slotsPerOwnerMax` says. While others wait, a slot
 * that becomes free goes to the next owner that has less than an even share of them, and to the next owner of any when none has: no slot
 * is free while something waits that may have it, unless what is next takes several and there are fewer; nothing overtakes it then. So an
 * owner that fills every slot with slow work gives them up one by one to those who come.
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
      // It may have been next, and what comes after it takes fewer slots.
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
    const slots = this.slotsOf(request);
    this.free -= slots;
    this.running.set(request.owner, this.runningOf(request.owner) + slots);
  }

  private end(request: SlotRequest): void {
    const slots = this.slotsOf(request);
    this.free += slots;
    const left = this.runningOf(request.owner) - slots;
    if (left > 0) this.running.set(request.owner, left);
    else this.running.delete(request.owner);
    this.admitWaiting();
  }

  /** Nothing overtakes what waits for slots; what waits for others of its owner holds up nobody else. */
  private mayStart(request: SlotRequest): boolean {
    const { owner } = request;
    if (this.slotsOf(request) > this.free || !this.fits(owner, request, this.perOwnerMax)) return false;
    return this.next(this.perOwnerMax) === null;
  }

  private admitWaiting(): void {
    for (;;) {
      const owners = new Set([...this.running.keys(), ...this.waiters.owners()]);
      const share = Math.min(Math.ceil(this.limits.slots / owners.size), this.perOwnerMax);
      const next =
        this.waiters.next(
          (owner, wish) => this.runningOf(owner) < share && this.fits(owner, wish, this.perOwnerMax),
        ) ?? this.next(this.perOwnerMax);
      if (next === null || this.slotsOf(next.wish) > this.free) return;
      this.start(next.wish);
      next.admit();
    }
  }

  /** What the next one waits for, of the owners that would then have at most so many slots. */
  private next(slotsMax: number): Next<SlotRequest> | null {
    return this.waiters.next((owner, wish) => this.fits(owner, wish, slotsMax));
  }

  private fits(owner: string, wish: SlotRequest, slotsMax: number): boolean {
    return this.runningOf(owner) + this.slotsOf(wish) <= slotsMax;
  }

  private slotsOf({ slots = 1 }: SlotRequest): number {
    return Math.min(slots, this.perOwnerMax);
  }

  private runningOf(owner: string): number {
    return this.running.get(owner) ?? 0;
  }
}
