import type { CircuitLimits } from '../providers/circuit-breaker.machine.js';

export type GenerationLimits = {
  /**
   * A call whose images are not there by then is answered, and recovery goes on. OpenAI's SDKs send a call
   * again after five minutes without an answer, so this has to be well below.
   */
  readonly callDeadlineMs: number;
  /** How long an image may wait for a provider whose account is full, when no other one is left to ask. */
  readonly saturationWaitMs: number;
  /** The same while another one is left: enough for a task that is about to end, and no more. */
  readonly fallThroughWaitMs: number;
  /** When a provider that does not work is left alone. */
  readonly circuit: CircuitLimits;
  /** Signs of life of the running calls; three may fail before a call counts as dead (`LEASE_MS`). */
  readonly leaseRenewalMs: number;
  /** How long recovery may take for one look at one generation, its downloads included. */
  readonly recoveryLookMs: number;
  /** What the provider has not delivered by then it never will: it keeps results for ten minutes. */
  readonly giveUpAfterMs: number;
  /**
   * By then a call's row is written, also when its provider names no task before it delivers. A call is taken for dead when
   * its hold has no row after 10 s (`UNWRITTEN_MS`), so two writes may fail.
   */
  readonly rowAfterMs: number;
  /** A hold without a generation is older than any process could still be about to write that row. */
  readonly orphanedAfterMs: number;
  /** Within each of these the body of an edit has to bring a megabyte, or its end. */
  readonly editPaceMs: number;
};

export const GENERATION_LIMITS = Symbol('GENERATION_LIMITS');

export const generationLimits: GenerationLimits = {
  callDeadlineMs: 110_000,
  saturationWaitMs: 10_000,
  fallThroughWaitMs: 1_000,
  // A provider that restarts is back within seconds; one that is down is asked once a minute.
  circuit: { failuresMax: 8, failingForMs: 5_000, openMs: 5_000, openMaxMs: 60_000, probeMs: 30_000 },
  leaseRenewalMs: 10_000,
  recoveryLookMs: 20_000,
  giveUpAfterMs: 12 * 60_000,
  rowAfterMs: 3_000,
  orphanedAfterMs: 60_000,
  // 0.84 Mbit/s: a telephone with a poor connection sends an ordinary photo in that time.
  editPaceMs: 10_000,
};

/** Longer than the call's deadline and all of recovery. The general sweep leaves these holds to recovery. */
export const HOLD_LIFETIME_MS = 15 * 60_000;
