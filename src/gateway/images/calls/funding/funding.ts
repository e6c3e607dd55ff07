import { ZERO, type MicroUsd } from '../../../../platform/common/money.js';
import type { Price } from '../../../../money/pricing/price.js';
import type { KeyedProvider, SealedProviderKey } from '../../../provider-keys/provider-key.js';
import type { Upstream } from '../image-maker.service.js';
import type { BillingMode, Generation } from '../records/generation.js';

/**
 * Pays for calls: the wallet, the customer's own account at the provider (BYOK), or no one when the model is free. It is chosen once,
 * before the call starts, and it is the only way that a call has to money.
 */
export interface Funding {
  /**
   * Sets aside what the call may cost. Rejects with a `Problem` (402, 503, or 409 when another attempt at the call has its credit, or
   * a provider key of the account serves it); then nothing was set aside.
   */
  authorize(generation: Generation, hold: HoldTerms): Promise<void>;
  /**
   * Charges for `images` delivered images and releases the rest; for 0 it releases everything. It may be repeated: the first capture
   * is final, and every later one returns it.
   *
   * @param actor the actor on the ledger rows: the key that called, or `system` for recovery.
   */
  capture(generation: Generation, images: number, actor: string): Promise<Charge>;
}

/** Under which conditions credit is set aside. */
export type HoldTerms = {
  /** The actor on the ledger rows. */
  readonly actor: string;
  /** Null when the client does not repeat calls by itself, or names them by an idempotency key. */
  readonly attempt: Attempt | null;
  /** Nothing is set aside when the account has a provider key at one of these providers. */
  readonly unlessOwnKeyAt: readonly KeyedProvider[];
};

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

/** What was charged for a call. */
export type Charge = {
  /** False when nothing was ever set aside for this generation. */
  readonly holdFound: boolean;
  /** How many of the delivered images are paid or free. No more than these may be handed to the customer. */
  readonly imagesPaid: number;
  readonly chargedMicros: MicroUsd;
  /** Null when no wallet is involved. */
  readonly availableMicros: MicroUsd | null;
};

/** The funding of one call, with its price and its providers. */
export type ChosenFunding = {
  readonly mode: BillingMode;
  readonly funding: Funding;
  /** The price of one image. For a BYOK call it is for information only: what the call would have cost the wallet. */
  readonly price: Price;
  readonly upstream: Upstream;
  /** The key that pays for a BYOK call; null for any other call. */
  readonly providerKey: SealedProviderKey | null;
  readonly unlessOwnKeyAt: readonly KeyedProvider[];
  /** The BYOK call that was refused and that this call replaces. */
  readonly fellBackFrom: string | null;
};

/** The charge of free models and of BYOK calls. */
export function chargeNothing(images: number): Charge {
  return { holdFound: true, imagesPaid: images, chargedMicros: ZERO, availableMicros: null };
}
