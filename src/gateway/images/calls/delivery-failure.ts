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
 * The order in which failures are reported for a call that delivered nothing. An unknown outcome comes first, because such a call
 * must not be sent again; then failures that a retry may solve; then those that only the customer can solve.
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

/** Returns the failure that is reported for the whole call; null when there is none. */
export function mostSevere(failures: readonly ProviderFailure[]): ProviderFailure | null {
  for (const kind of PRECEDENCE) {
    const found = failures.find((failure) => failure.kind === kind);
    if (found !== undefined) return found;
  }
  return null;
}

/** Returns the problem that the customer receives. The switch is total: a new kind does not compile until it has a problem. */
export function toCustomerProblem(failure: ProviderFailure): Problem {
  switch (failure.kind) {
    case 'lost':
      return new OutcomeUnknownError();
    // A refusal of our own account is our fault, so the customer must never receive it as a 401, 402 or 403.
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

/** Whether the provider had no slot because too many images of the same account are waiting already. */
export function isOwnQueueFull({ cause }: ProviderFailure): boolean {
  return cause instanceof NoSlotError && cause.reason === 'owner_queue_full';
}
