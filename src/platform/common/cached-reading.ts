import type { MonotonicClock } from './clock.js';

/**
 * Caches a value that costs a query and that outside callers may ask for at any rate: it is read at most once in `maxAgeMs`,
 * and by one query at a time. A failed reading is cached like any other.
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
    // A test's clock can be set back: a value that was read in its future counts as no newer than the others.
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
