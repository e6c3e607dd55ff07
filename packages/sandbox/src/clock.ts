/** Time is an input, so that a test can stop it. */
export interface Clock {
  /** Unix time in whole milliseconds. */
  nowMs(): number;
}

export const systemClock: Clock = { nowMs: () => Date.now() };
