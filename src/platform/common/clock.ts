/** Time is an input. Services take a `Clock`; rules take a plain number of milliseconds. */
export interface Clock {
  /** Unix time in whole milliseconds. */
  nowMs(): number;
}

/** For how long something has been so. A wall clock that is set back would keep a revoked key alive. */
export interface MonotonicClock {
  /** Milliseconds since some moment; they never go back. */
  monotonicMs(): number;
}

/**
 * Provides both clocks of this process. Its wall clock decides nothing: what is stored, promised to a customer or compared with
 * a stored time is read from `LEDGER_CLOCK` (src/platform/database/ledger-clock.ts). Each application has an object of its own, so a
 * test that moves one moves no other.
 */
export const CLOCK = Symbol('CLOCK');

export const systemClock: Clock & MonotonicClock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
};

/** The wire form of a time. Cuts the fraction of the second off. */
export function toUnixSeconds(time: Date): number {
  return Math.trunc(time.getTime() / 1_000);
}
