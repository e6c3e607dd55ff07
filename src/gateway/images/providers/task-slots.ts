import {
  FairSlots,
  NoSlotError,
  type FairSlotLimits,
  type SlotRequest,
} from '../../../platform/common/fair-slots.js';
import { IMAGES_MAX } from '../calls/image-request.js';
import { ProviderFailure } from './provider-failure.js';

export type TaskSlotLimits = Omit<FairSlotLimits, 'waitersPerOwnerMax'> & {
  readonly waitMaxMs: number;
  /** The `retry-after` of a refused caller. */
  readonly retryAfterSeconds: number;
};

/** How many images of one account may wait for each slot: about as many as are made within the longest wait. */
const WAITERS_PER_SLOT = 2;

/**
 * The slots of one upstream account. Customers share them evenly by image, so a call for ten images counts as ten. The wait for a slot
 * is short and bounded.
 */
export class TaskSlots {
  private readonly slots: FairSlots;

  constructor(private readonly limits: TaskSlotLimits) {
    const waitersPerOwnerMax = Math.max(WAITERS_PER_SLOT * limits.slots, IMAGES_MAX);
    this.slots = new FairSlots({ ...limits, waitersPerOwnerMax });
  }

  get waiting(): number {
    return this.slots.waiting;
  }

  /**
   * Runs `work` in a slot. Throws `ProviderFailure` (`saturated`) when too many images wait already, or no slot becomes free within
   * `waitMaxMs` or the limit of these slots, whichever is shorter.
   */
  async run<T>(
    request: SlotRequest,
    work: () => Promise<T>,
    waitMaxMs = Number.POSITIVE_INFINITY,
  ): Promise<T> {
    try {
      return await this.slots.run(request, work, { maxMs: Math.min(waitMaxMs, this.limits.waitMaxMs) });
    } catch (error) {
      if (!(error instanceof NoSlotError)) throw error;
      const { retryAfterSeconds } = this.limits;
      throw new ProviderFailure('saturated', `the upstream account has ${error.message}`, {
        retryAfterSeconds,
        cause: error,
      });
    }
  }
}

type Pool = { readonly slots: TaskSlots; users: number };

/** Task slots for customers' own accounts. Each key has a pool, which is removed when no call uses it. */
export class CustomerSlots {
  private readonly pools = new Map<string, Pool>();

  constructor(private readonly limits: TaskSlotLimits) {}

  /** How many keys are in use. */
  get size(): number {
    return this.pools.size;
  }

  /** Throws `ProviderFailure` (`saturated`) when no slot of this key becomes free in time. */
  async run<T>(keyId: string, request: SlotRequest, work: () => Promise<T>, waitMaxMs?: number): Promise<T> {
    const pool = this.pools.get(keyId) ?? { slots: new TaskSlots(this.limits), users: 0 };
    this.pools.set(keyId, pool);
    pool.users += 1;
    try {
      return await pool.slots.run(request, work, waitMaxMs);
    } finally {
      pool.users -= 1;
      if (pool.users === 0) this.pools.delete(keyId);
    }
  }
}
