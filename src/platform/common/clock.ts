/** Time is an input. Services take a `Clock`; rules take a plain number of milliseconds. */
export interface Clock {
  /** Unix time in whole milliseconds. */
  nowMs(): number;
}

/** Measures how long a condition has lasted. A wall clock that is set back would keep a revoked key alive. */
export interface MonotonicClock {
  /** Milliseconds since an arbitrary moment; they never decrease. */
  monotonicMs(): number;
}

/**
 * Provides both clocks of this process. Its wall clock decides nothing: values that are stored, promised to a customer or
 * compared with a stored time are read from `LEDGER_CLOCK` (src/platform/database/ledger-clock.ts). Each application has its own
 * object, so a test that moves one clock moves no other.
 */
export const CLOCK = Symbol('CLOCK');

export const systemClock: Clock & MonotonicClock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

/** Returns the wire form of a time. The fraction of the second is cut off. */
export function toUnixSeconds(time: Date): number {
  return Math.trunc(time.getTime() / 1_000);
}
