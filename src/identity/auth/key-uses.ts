import type { Clock } from '../../platform/common/clock.js';

/** Which API keys were accepted since the last `take`, and when first. It is in memory, so a request costs one look-up in a map. */
export class KeyUses {
  private firstUses = new Map<string, number>();

  constructor(private readonly clock: Clock) {}

  note(keyId: string): void {
    if (!this.firstUses.has(keyId)) this.firstUses.set(keyId, this.clock.nowMs());
  }

  /** Returns the uses by the key's id, in Unix milliseconds, and starts with an empty record. */
  take(): ReadonlyMap<string, number> {
    const taken = this.firstUses;
    this.firstUses = new Map();
    return taken;
  }
}
