/**
 * Why a provider delivered no image:
 * - rejected: it refuses these parameters, which the customer can correct.
 * - moderated: it refuses this prompt or its result.
 * - saturated: it, or our queue for it, has no capacity; a later attempt may work.
 * - unavailable: it cannot be reached or reports that it is down.
 * - account: it refuses our own key or our credit. An operator has to act.
 * - key_rejected, key_unfunded: it refuses the customer's own key, or that key's account is out of credit; only the customer can
 *   solve this.
 * - failed: it accepted the task and then failed, or delivered something that is not the requested image.
 * - lost: the task was started and its outcome is unknown.
 */
export type FailureKind =
  | 'rejected'
  | 'moderated'
  | 'saturated'
  | 'unavailable'
  | 'account'
  | 'key_rejected'
  | 'key_unfunded'
  | 'failed'
  | 'lost';

export class ProviderFailure extends Error {
  /** How long the provider asked us to wait, in whole seconds from 1 to 60; null when it did not. */
  readonly retryAfterSeconds: number | null;

  /** @param message the text for our log. It is shown to a customer only when the kind is `rejected`. */
  constructor(
    readonly kind: FailureKind,
    message: string,
    options: { readonly retryAfterSeconds?: number | null; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'ProviderFailure';
    this.retryAfterSeconds = options.retryAfterSeconds ?? null;
  }
}

/** Wrong key, no credit, not allowed, no such model or route: our configuration is wrong, whatever the customer sends. */
const ABOUT_US: ReadonlySet<number> = new Set([401, 402, 403, 404, 405, 410]);
/** Temporary errors: a time-out, a conflict, too early. */
const TEMPORARY: ReadonlySet<number> = new Set([408, 409, 425]);

/**
 * Derives the kind of failure from the status alone. Any other 4xx (413 for example) is about the customer's request. If it counted
 * as a failure of our account, a few such requests of one customer would open the circuit breaker for everyone.
 */
export function toFailureKind(status: number): FailureKind {
  if (status === 429) return 'saturated';
  if (ABOUT_US.has(status)) return 'account';
  return status >= 400 && status < 500 && !TEMPORARY.has(status) ? 'rejected' : 'unavailable';
}

/**
 * Whether the next provider is asked, under the same hold, for an image that one provider did not deliver. The type is total, so a
 * new kind of failure does not compile until it is decided here.
 */
export const FALLS_THROUGH: Readonly<Record<FailureKind, boolean>> = {
  // The provider has no capacity, is down or refuses us. Another provider may still work.
  saturated: true,
  unavailable: true,
  account: true,
  // The task has ended without an image. We bear what it cost.
  failed: true,
  // Otherwise the load of the stricter provider would decide whether its filter applies.
  moderated: false,
  // The answer names the parameter that the customer has to change, whichever provider was asked.
  rejected: false,
  // The image may still be delivered. A second one would be made, and perhaps charged, in addition.
  lost: false,
  // A BYOK call has only one route.
  key_rejected: false,
  key_unfunded: false,
};
