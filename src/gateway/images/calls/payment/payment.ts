import type { MicroUsd } from '../../../../platform/common/money.js';

/** Which attempt at one call asks for credit, where a client sends a call again by itself when it gets no answer. */
export type Attempt = {
  /** 0: the first. Null: the client does not say, and the same request is the same call. */
  readonly number: number | null;
  readonly beganAtMs: number;
  /** The same moment by `performance.now()`: the store dates it by the ledger's clock, which dates holds. */
  readonly beganAtMonotonicMs: number;
  /** Open holds for the same request which this attempt knows to be of other calls. */
  readonly otherCallsHoldIds: readonly string[];
};

export type Settlement = {
  /** False: nothing was ever set aside under this generation's name. */
  readonly holdFound: boolean;
  /** How many of the delivered images are paid (or free): as many may be handed out, and no more. */
  readonly imagesPaid: number;
  readonly chargedMicros: MicroUsd;
  /** Null: no wallet is involved. */
  readonly availableMicros: MicroUsd | null;
};

/**
 * How one generation is paid for. Chosen once, before anything else happens: a call that is free or goes over
 * the customer's own provider key gets a payment that knows no wallet at all.
 */
export interface Payment {
  /**
   * Sets aside what the call may cost. Rejects with a `Problem` (402, 503, or 409 when another attempt at the call has
   * its credit, or a provider key of the account serves it); then nothing was set aside.
   *
   * @param attempt null: of a client that does not send a call again by itself, or names it by a key.
   */
  authorize(attempt: Attempt | null): Promise<void>;
  /**
   * Charges for `images` delivered images and releases the rest; for 0 it releases everything. Safe to
   * repeat: the first call decides, and every later one answers what that was.
   */
  settle(images: number): Promise<Settlement>;
}
