import type { Clock } from '../../platform/common/clock.js';

/** Which API keys were let in since this was last asked for, and when first. In memory: a request pays one look into a map. */
export class KeyUses {
  private firstUses = new Map<string, number>();

  constructor(private readonly clock: Clock) {}

  note(keyId: string): void {
    if (!this.firstUses.has(keyId)) this.firstUses.set(keyId, this.clock.nowMs());
  }

  /** By the key's id, Unix milliseconds; from here on uses are noted anew. */
  take(): ReadonlyMap<string, number> {
    const taken = this.firstUses;
    this.firstUses = new Map();
    return taken;
  }
}
