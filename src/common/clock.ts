/** Time is an input. Services take a `Clock`; rules take a plain number of milliseconds. */
export interface Clock {
  /** Unix time in whole milliseconds. */
  nowMs(): number;
}

export const CLOCK = Symbol('CLOCK');

export const systemClock: Clock = { nowMs: () => Date.now() };
