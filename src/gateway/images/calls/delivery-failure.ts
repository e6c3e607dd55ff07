import type { Problem } from '../../../platform/errors/problem.js';
import { NoSlotError } from '../../../platform/common/fair-slots.js';
import {
  ContentPolicyViolationError,
  OutcomeUnknownError,
  ProviderKeyRejectedError,
  ProviderKeyUnfundedError,
  UpstreamFailedError,
  UpstreamRejectedError,
  UpstreamSaturatedError,
  UpstreamUnavailableError,
} from './generation.errors.js';
import type { FailureKind, ProviderFailure } from '../providers/provider-failure.js';

/**
 * Which failure speaks for a call that delivered nothing: an unknown outcome before all (it must not be sent
 * again), then what another try may mend, then what only the customer can mend.
 */
const PRECEDENCE: readonly FailureKind[] = [
  'lost',
  'key_rejected',
  'key_unfunded',
  'account',
  'unavailable',
  'saturated',
  'failed',
  'moderated',
  'rejected',
];

const RETRY_AFTER_SECONDS = 3;

/** The failure that speaks for all of them; null when there is none. */
export function mostSevere(failures: readonly ProviderFailure[]): ProviderFailure | null {
  for (const kind of PRECEDENCE) {
    const found = failures.find((failure) => failure.kind === kind);
    if (found !== undefined) return found;
  }
  return null;
}

/** What the customer is told. Total by type: a new kind does not compile until it has an error. */
export function problemOf(failure: ProviderFailure): Problem {
  switch (failure.kind) {
    case 'lost':
      return new OutcomeUnknownError();
    // Our account's trouble is ours: never the customer's 401, 402 or 403.
    case 'account':
    case 'unavailable':
      return new UpstreamUnavailableError();
    case 'key_rejected':
      return new ProviderKeyRejectedError();
    case 'key_unfunded':
      return new ProviderKeyUnfundedError();
    case 'saturated':
      return new UpstreamSaturatedError(
        failure.retryAfterSeconds ?? RETRY_AFTER_SECONDS,
        isOwnQueueFull(failure),
      );
    case 'failed':
      return new UpstreamFailedError();
    case 'moderated':
      return new ContentPolicyViolationError();
    case 'rejected':
      return new UpstreamRejectedError(failure.message);
  }
}

/** Whether it is the account's own images that leave no capacity for more. */
export function isOwnQueueFull({ cause }: ProviderFailure): boolean {
  return cause instanceof NoSlotError && cause.reason === 'owner_queue_full';
}
