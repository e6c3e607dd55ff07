/**
 * Why a provider delivered no image, in our words:
 * - rejected: it refuses these parameters; the customer can mend them.
 * - moderated: it refuses this prompt or its result.
 * - saturated: it (or our queue for it) is full; later works.
 * - unavailable: it cannot be reached or says that it is down.
 * - account: it refuses *us*: our key or our credit. Somebody has to be woken.
 * - key_rejected, key_unfunded: it refuses the customer's own key, or that key's account is out of credit; only
 *   the customer can mend it.
 * - failed: it took the task and then failed at it, or delivered something that is no such image.
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
  /** Whole seconds from 1 to 60 that the provider asked us to wait; null when it did not. */
  readonly retryAfterSeconds: number | null;

  /** @param message for our log; it is shown to a customer only when the kind is `rejected`. */
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

/** Wrong key, no credit, not allowed, no such model or route: ours to mend, whatever the customer sends. */
const ABOUT_US: ReadonlySet<number> = new Set([401, 402, 403, 404, 405, 410]);
/** What passes by itself: a time-out, a conflict, too early. */
const PASSING: ReadonlySet<number> = new Set([408, 409, 425]);

/**
 * What the status of a refused request alone says. Any other 4xx (413 for example) is about the request that a customer made: as
 * trouble of our account, a few of them from one customer would keep the provider from being asked for all.
 */
export function kindOfStatus(status: number): FailureKind {
  if (status === 429) return 'saturated';
  if (ABOUT_US.has(status)) return 'account';
  return status >= 400 && status < 500 && !PASSING.has(status) ? 'rejected' : 'unavailable';
}
