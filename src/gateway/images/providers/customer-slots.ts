import type { SlotRequest } from '../../../platform/common/fair-slots.js';
import { TaskSlots, type TaskSlotLimits } from './task-slots.js';

type Pool = { readonly slots: TaskSlots; users: number };

/** Task slots for the accounts of customers: one pool a key, forgotten when nobody uses it. */
export class CustomerSlots {
  private readonly pools = new Map<string, Pool>();

  constructor(private readonly limits: TaskSlotLimits) {}

  /** Keys in use. */
  get size(): number {
    return this.pools.size;
  }

  /** Throws `ProviderFailure` (`saturated`) when no slot of this key came free in time. */
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
