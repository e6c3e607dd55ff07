/** Time is an input. Services take a `Clock`; rules take a plain number of milliseconds. */
export interface Clock {
  /** Unix time in whole milliseconds. */
  nowMs(): number;
}

export const CLOCK = Symbol('CLOCK');

export const systemClock: Clock = { nowMs: () => Date.now() };

/** The wire form of a time. Cuts the fraction of the second off. */
export function toUnixSeconds(time: Date): number {
  return Math.trunc(time.getTime() / 1_000);
}
