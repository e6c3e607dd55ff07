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
 * Slots that owners share. An owner that is alone may use all of them, or as many as `slotsPerOwnerMax` says. While others wait, a slot that becomes free goes to the next
 * owner that has less than an even share of them, and to the next owner of any when none has: no slot is free while
 * something waits that may have it. So an owner that fills every slot with slow work gives them up one by one to those who come.
 */
export class FairSlots {
  private readonly running = new Map<string, number>();
  private readonly waiters = new FairWaiting<null>();
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
    const { owner } = request;
    if (this.free > 0 && this.runningOf(owner) < this.perOwnerMax) this.start(owner);
    else await this.waitForSlot(request, wait);
    try {
      return await work();
    } finally {
      this.end(owner);
    }
  }

  private async waitForSlot({ owner, call }: SlotRequest, wait: Wait): Promise<void> {
    if (this.lastQueuedCall !== call) this.refuseBeyondLimits(owner);
    this.lastQueuedCall = call;
    try {
      await this.waiters.wait(owner, null, wait);
    } catch (error) {
      if (!(error instanceof WaitedTooLongError)) throw error;
      throw new NoSlotError('waited_too_long', { cause: error });
    }
  }

  private refuseBeyondLimits(owner: string): void {
    const { waitersMax, waitersPerOwnerMax } = this.limits;
    if (this.waitingOf(owner) >= waitersPerOwnerMax) throw new NoSlotError('owner_queue_full');
    if (this.waiting >= waitersMax) throw new NoSlotError('queue_full');
  }

  private start(owner: string): void {
    this.free -= 1;
    this.running.set(owner, this.runningOf(owner) + 1);
  }

  private end(owner: string): void {
    this.free += 1;
    const left = this.runningOf(owner) - 1;
    if (left > 0) this.running.set(owner, left);
    else this.running.delete(owner);
    const owners = new Set([...this.running.keys(), ...this.waiters.owners()]);
    const share = Math.min(Math.ceil(this.limits.slots / owners.size), this.perOwnerMax);
    const next = this.nextBelow(share) ?? this.nextBelow(this.perOwnerMax);
    if (next === null) return;
    this.start(next.owner);
    next.admit();
  }

  /** Of the owners that have fewer slots than that, what the next one waits for. */
  private nextBelow(count: number): Next<null> | null {
    return this.waiters.next((owner) => this.runningOf(owner) < count);
  }

  private runningOf(owner: string): number {
    return this.running.get(owner) ?? 0;
  }
}
