import type { MonotonicClock } from '../../platform/common/clock.js';
import { addressGroup } from '../../platform/common/address-group.js';
import { WINDOW_SECONDS } from './rate-limit-policies.js';

const WINDOW_MS = WINDOW_SECONDS * 1_000;
/** They take about ten megabytes. Beyond this the oldest count is removed: no count would stop an attacker with that many addresses. */
const ADDRESSES_MAX = 50_000;

type Window = { readonly endsAtMs: number; count: number };

/**
 * Counts by network address, in memory only: each process protects itself, and a flood must not become a flood of Redis
 * commands. It sets no timers and stores a bounded number of addresses.
 */
export class AddressWindows {
  /** They are in the order in which they end: all are equally long, and one that begins again moves to the end. */
  private readonly windows = new Map<string, Window>();

  constructor(
    private readonly max: number,
    private readonly clock: MonotonicClock,
  ) {}

  /** Returns how long the address has to wait; null when it has not reached its maximum. It counts nothing. */
  getWaitMs(address: string): number | null {
    const window = this.find(addressGroup(address));
    if (window === null || window.count < this.max) return null;
    return window.endsAtMs - this.clock.monotonicMs();
  }

  count(address: string): void {
    const group = addressGroup(address);
    const window = this.find(group);
    if (window === null) this.begin(group);
    else window.count += 1;
  }

  /** The number of stored addresses. */
  get size(): number {
    return this.windows.size;
  }

  private find(group: string): Window | null {
    const window = this.windows.get(group);
    return window !== undefined && window.endsAtMs > this.clock.monotonicMs() ? window : null;
  }

  private begin(group: string): void {
    this.windows.delete(group);
    for (const [oldest, { endsAtMs }] of this.windows) {
      if (endsAtMs > this.clock.monotonicMs() && this.windows.size < ADDRESSES_MAX) break;
      this.windows.delete(oldest);
    }
    this.windows.set(group, { endsAtMs: this.clock.monotonicMs() + WINDOW_MS, count: 1 });
  }
}
