import type { MicroUsd } from '../../../../platform/common/money.js';

/** The attempt that asks for credit, for clients that send a call again by themselves when they get no answer. */
export type Attempt = {
  /** 0 for the first attempt. Null when the client does not number them, and the same request counts as the same call. */
  readonly number: number | null;
  readonly beganAtMs: number;
  /** The same moment by `performance.now()`. The wallet store converts it to the database's clock, by which holds are dated. */
  readonly beganAtMonotonicMs: number;
  /** Open holds for the same request that are known to belong to other calls. */
  readonly otherCallsHoldIds: readonly string[];
};

export type Settlement = {
  /** False when nothing was ever set aside for this generation. */
  readonly holdFound: boolean;
  /** How many of the delivered images are paid or free. No more than these may be handed to the customer. */
  readonly imagesPaid: number;
  readonly chargedMicros: MicroUsd;
  /** Null when no wallet is involved. */
  readonly availableMicros: MicroUsd | null;
};

/**
 * Pays for one generation. It is chosen once, before anything else happens; a free call and a BYOK call get a payment that does not
 * know any wallet.
 */
export interface Payment {
  /**
   * Sets aside what the call may cost. Rejects with a `Problem` (402, 503, or 409 when another attempt at the call has
   * its credit, or a provider key of the account serves it); then nothing was set aside.
   *
   * @param attempt null when the client does not repeat calls by itself, or names them by an idempotency key.
   */
  authorize(attempt: Attempt | null): Promise<void>;
  /**
   * Charges for `images` delivered images and releases the rest; for 0 it releases everything. It may be repeated: the first
   * settlement is final, and every later one returns it.
   */
  settle(images: number): Promise<Settlement>;
}
