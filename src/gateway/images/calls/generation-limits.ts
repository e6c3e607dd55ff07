import type { CircuitLimits } from '../providers/circuit-breaker.machine.js';

export type GenerationLimits = {
  /**
   * A call whose images are not complete by then is answered with an error, and recovery continues in the background. OpenAI's SDKs
   * send a call again after five minutes without an answer, so this has to be well below.
   */
  readonly callDeadlineMs: number;
  /** How long an image may wait for a provider that has no capacity when no other provider is left to ask. */
  readonly saturationWaitMs: number;
  /** The same when another provider is left: just enough for a task that is about to end. */
  readonly fallThroughWaitMs: number;
  /** When calls to a failing provider are stopped, and when they are tried again. */
  readonly circuit: CircuitLimits;
  /** How often the leases of running calls are renewed. Three renewals may fail before a call counts as dead (`LEASE_MS`). */
  readonly leaseRenewalMs: number;
  /** How long recovery may take to check one generation once, downloads included. */
  readonly recoveryCheckMs: number;
  /** Recovery gives up after this, because the provider keeps results for only ten minutes. */
  readonly giveUpAfterMs: number;
  /**
   * After this a call's row is written even if its provider has not named a task. A call is taken for dead when its hold has no
   * row after 10 s (`UNWRITTEN_MS`), so two writes may fail.
   */
  readonly rowAfterMs: number;
  /** A hold that has had no generation for this long is released: no process can still be about to write that row. */
  readonly orphanedAfterMs: number;
  /** In each period of this length the body of an edit must either deliver a megabyte or end. */
  readonly editPaceMs: number;
};

export const GENERATION_LIMITS = Symbol('GENERATION_LIMITS');

export const generationLimits: GenerationLimits = {
  callDeadlineMs: 110_000,
  saturationWaitMs: 10_000,
  fallThroughWaitMs: 1_000,
  // A provider that restarts is back within seconds; one that stays down is tried once a minute.
  circuit: { failuresMax: 8, failingForMs: 5_000, openMs: 5_000, openMaxMs: 60_000, probeMs: 30_000 },
  leaseRenewalMs: 10_000,
  recoveryCheckMs: 20_000,
  giveUpAfterMs: 12 * 60_000,
  rowAfterMs: 3_000,
  orphanedAfterMs: 60_000,
  // This is 0.84 Mbit/s, which a telephone with a poor connection achieves.
  editPaceMs: 10_000,
};

/** This is longer than a call's deadline and all of recovery together. The general expiry of holds leaves these holds to recovery. */
export const HOLD_LIFETIME_MS = 15 * 60_000;
