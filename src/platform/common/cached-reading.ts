import type { MonotonicClock } from './clock.js';

/**
 * What costs a query and is asked for by others than us: it is read at most once in `maxAgeMs`, and by one query at a time,
 * however many ask. A failed reading counts like any other.
 */
export class CachedReading<T> {
  private latest: { readonly value: Promise<T>; readonly startedAtMs: number } | null = null;
  private underWay = false;

  constructor(
    private readonly clock: MonotonicClock,
    private readonly maxAgeMs: number,
    private readonly load: () => Promise<T>,
  ) {}

  read(): Promise<T> {
    const nowMs = this.clock.monotonicMs();
    // A test's clock can be set back: what was read in its future is no newer than the rest.
    const ageMs = Math.abs(nowMs - (this.latest?.startedAtMs ?? -Infinity));
    if (this.latest === null || (!this.underWay && ageMs >= this.maxAgeMs)) {
      this.underWay = true;
      const value = this.load().finally(() => {
        this.underWay = false;
      });
      this.latest = { value, startedAtMs: nowMs };
    }
    return this.latest.value;
  }
}
