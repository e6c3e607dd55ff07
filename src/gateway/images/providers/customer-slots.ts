import type { SlotRequest } from '../../../platform/common/fair-slots.js';
import { TaskSlots, type TaskSlotLimits } from './task-slots.js';

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
