import { formatMicros, formatUsd, ZERO } from '../../../platform/common/money.js';
import { formatUtcDate } from '../../../platform/common/clock.js';
import type { Settings } from '../../../platform/config/settings.js';
import { isUnavailable } from '../../../platform/database/constraints.js';
import { ProviderKeyUnreadableError } from '../../provider-keys/provider-key.errors.js';
import { DatabaseUnavailableError, InternalError } from '../../../platform/errors/common.errors.js';
import type { ProblemCode } from '../../../platform/errors/problem-catalog.js';
import { Problem } from '../../../platform/errors/problem.js';
import { NoSlotError } from '../../../platform/common/fair-slots.js';
import type { FailureKind, ProviderFailure } from '../providers/provider-failure.js';
import type { StoredGeneration } from './records/generation.js';

export class UpstreamFailedError extends Problem {
  readonly code = 'upstream_failed';
  constructor() {
    super('The provider failed to make the image. Nothing was charged. Try again.');
  }
}

/** The provider has no capacity, is down or refuses our account. In each case the customer can only wait. */
export class UpstreamUnavailableError extends Problem {
  readonly code = 'upstream_unavailable';
  constructor() {
    super('The provider cannot take the request right now. Nothing was charged. Try again shortly.', {
      retryAfterSeconds: 5,
    });
  }
}

export class UpstreamSaturatedError extends Problem {
  readonly code = 'concurrency_limit_exceeded';
  /** @param isOwnQueueFull whether the images that wait are this account's own. */
  constructor(retryAfterSeconds: number, isOwnQueueFull = false) {
    super(
      isOwnQueueFull
        ? 'Your account has as many images waiting as one account may have. Nothing was charged. Retry after the time ' +
            'in Retry-After, or ask for fewer images at the same time.'
        : 'Too many images are being made at the moment. Nothing was charged. Try again shortly.',
      { retryAfterSeconds },
    );
  }
}

/** This is a 429, but `retry-after` would not help a client, because the limit ends with the UTC day. */
export class FreeImagesUsedUpError extends Problem {
  readonly code = 'free_images_used_up';
  constructor({ max, used, resetsAtMs }: { max: number; used: number; resetsAtMs: number }) {
    super(
      `An account may have ${max} images a day made by free models, and ${used} are used; the day ends at midnight UTC. ` +
        'Nothing was charged. Ask for fewer images, or use a paid model.',
      { shouldRetry: false, details: { max, used, resets_at: Math.floor(resetsAtMs / 1_000) } },
    );
  }
}

/** A repeated call would be made, and perhaps charged, a second time, so the answer asks SDKs not to retry. */
export class OutcomeUnknownError extends Problem {
  readonly code = 'upstream_timeout';
  constructor() {
    super(
      'The provider did not finish in time. Nothing has been charged so far. Within minutes the images are either ' +
        'delivered and charged, or the call fails and nothing is charged. GET /v1/generations/{generation_id} shows the outcome.',
      { shouldRetry: false, details: { outcome: 'pending' } },
    );
  }
}

/** Images were made, but it is not known yet whether the charge was committed. */
export class ChargeUnknownError extends Problem {
  readonly code = 'database_unavailable';
  constructor(cause: unknown) {
    super(
      'The database became unavailable before the charge was confirmed. Within minutes the images are either delivered and ' +
        'charged once, or the call fails and nothing is charged. GET /v1/generations/{generation_id} shows the outcome.',
      { shouldRetry: false, details: { outcome: 'pending' }, cause },
    );
  }
}

export class ContentPolicyViolationError extends Problem {
  readonly code = 'content_policy_violation';
  constructor() {
    super('The provider moderated the prompt or its result. Nothing was charged. Change the prompt.', {
      param: 'prompt',
      shouldRetry: false,
    });
  }
}

/** The provider refused the customer's own key. The message must not be mistaken for a refusal of the API key, which was valid. */
export class ProviderKeyRejectedError extends Problem {
  readonly code = 'byok_key_rejected';
  constructor() {
    super(
      'The provider refused your own provider key (your Coffer API key is fine). Nothing was charged, and the wallet ' +
        'was not used. Attach a working key with PUT /v1/provider_keys/{provider}, or delete it there to pay by wallet.',
      { shouldRetry: false },
    );
  }
}

/** The customer's own account at the provider has no credit left. Their wallet is not involved. */
export class ProviderKeyUnfundedError extends Problem {
  readonly code = 'byok_upstream_insufficient_credits';
  constructor() {
    super(
      'Your own account at the provider is out of credit. Nothing was charged, and the wallet was not used. Add ' +
        'credit at the provider, or delete the key with DELETE /v1/provider_keys/{provider} to pay by wallet.',
      { shouldRetry: false },
    );
  }
}

/** The provider refused the customer's parameters; `complaint` is what it says about them. */
export class UpstreamRejectedError extends Problem {
  readonly code = 'invalid_request';
  constructor(complaint: string) {
    super(`The provider refused the request: ${complaint}. Nothing was charged.`);
  }
}

export class IdempotencyInProgressError extends Problem {
  readonly code = 'idempotency_in_progress';
  constructor() {
    super('A request with this Idempotency-Key is still running. Send it again to receive its answer.', {
      param: 'Idempotency-Key',
      retryAfterSeconds: 1,
    });
  }
}

/**
 * No client receives this problem, because the connection has ended. The SDK has sent the call again or the customer has given up;
 * in both cases nothing may be started for this attempt.
 */
export class ClientGoneError extends Problem {
  readonly code = 'idempotency_in_progress';
  constructor() {
    super('The connection ended before the call began. Nothing was charged.');
  }
}

/** A retry without an idempotency key has found its earlier attempt, but cannot wait for it any longer. */
export class EarlierAttemptRunningError extends Problem {
  readonly code = 'idempotency_in_progress';
  constructor() {
    super('An earlier attempt at this call is still running. Send it again to receive its answer.', {
      retryAfterSeconds: 1,
    });
  }
}

export class IdempotencyKeyReusedError extends Problem {
  readonly code = 'idempotency_key_reused';
  constructor() {
    super(
      'This Idempotency-Key was used before with another body. Nothing was charged. Choose a new key for a new request.',
      { param: 'Idempotency-Key', shouldRetry: false },
    );
  }
}

/** The first call with this key was answered and paid, but its answer is not kept any more. One key never charges twice. */
export class IdempotencyKeyUsedError extends Problem {
  readonly code = 'idempotency_key_used';
  constructor({ id, createdAtMs, chargedMicros }: StoredGeneration) {
    const day = formatUtcDate(new Date(createdAtMs));
    super(
      `This Idempotency-Key was used on ${day} by a call that was answered and charged ${formatUsd(chargedMicros)}; its answer ` +
        `is no longer kept. Nothing was charged now. GET /v1/generations/${id} shows that call; for new images, send a new ` +
        'Idempotency-Key.',
      {
        param: 'Idempotency-Key',
        shouldRetry: false,
        details: { first_generation_id: id, first_charged_micros: formatMicros(chargedMicros) },
      },
    );
  }
}

export class InvalidMediaUrlError extends Problem {
  readonly code = 'invalid_media_url';
  constructor() {
    super(
      'This image URL is not valid or has expired. GET /v1/generations/{id} returns a new one while the image is kept.',
    );
  }
}

/** The first call with this key was answered and paid, but its images have been deleted since. */
export class ImagesDeletedError extends Problem {
  readonly code = 'images_deleted';
  constructor(generationId: string) {
    super(
      `The images of this call were deleted, so its answer cannot be repeated: '${generationId}'. Nothing was charged ` +
        'now. Use another Idempotency-Key to make new ones.',
      { shouldRetry: false },
    );
  }
}

export class GenerationRunningError extends Problem {
  readonly code = 'generation_running';
  constructor(generationId: string) {
    super(`The call is still running, so it has no images to delete yet: '${generationId}'.`, {
      retryAfterSeconds: 1,
    });
  }
}

/** `cause` is logged, so it must not contain anything that was sent or signed. */
export class MediaUnavailableError extends Problem {
  readonly code = 'media_unavailable';
  constructor(cause: unknown) {
    super('The store of images cannot be reached. Nothing was charged. Try again shortly.', {
      cause,
      retryAfterSeconds: 5,
    });
  }
}

type PaidCallFacts = {
  readonly generationId: string | null;
  /** Decimal micro-USD; null when it is not known yet. */
  readonly chargedMicros: string | null;
  /** Null when a top-up would not help. */
  readonly topUpUrl: string | null;
  /** The customer's own key that a BYOK call used; null for a wallet-funded call. */
  readonly providerKeyId: string | null;
  /** The BYOK call that was refused and that this call replaces; null for any other call. */
  readonly fellBackFrom: string | null;
};

/**
 * Wraps a problem of an image call. It keeps the problem's code, message and headers, and adds what was charged, for which
 * generation and, when credit is missing, where to top up.
 */
export class PaidCallError extends Problem {
  readonly code: ProblemCode;
  constructor(
    problem: Problem,
    { generationId, chargedMicros, topUpUrl, providerKeyId, fellBackFrom }: PaidCallFacts,
  ) {
    super(problem.message, {
      param: problem.param,
      retryAfterSeconds: problem.retryAfterSeconds,
      shouldRetry: problem.shouldRetry,
      cause: problem,
      details: {
        ...problem.details,
        ...(chargedMicros === null ? {} : { charged_micros: chargedMicros }),
        ...(generationId === null ? {} : { generation_id: generationId }),
        ...(providerKeyId === null ? {} : { billing_mode: 'byok', provider_key: providerKeyId }),
        ...(fellBackFrom === null ? {} : { fell_back_from: fellBackFrom }),
        ...(problem.kind === 'insufficient_credits' && topUpUrl !== null ? { top_up_url: topUpUrl } : {}),
      },
    });
    this.code = problem.code;
  }
}

/** Returns the URL where a customer without enough credit starts a top-up. */
export function topUpUrlFrom({ publicUrl, port }: Pick<Settings, 'publicUrl' | 'port'>): string {
  return new URL('/v1/top_ups', publicUrl ?? `http://127.0.0.1:${port}`).href;
}

/** Adds to a problem that ended a call before anything could be charged that it cost nothing. */
export function withoutCharge(
  problem: Problem,
  { generationId = null, providerKeyId = null, topUpUrl = null }: Partial<PaidCallFacts> = {},
): PaidCallError {
  return new PaidCallError(problem, {
    generationId,
    chargedMicros: formatMicros(ZERO),
    topUpUrl,
    providerKeyId,
    fellBackFrom: null,
  });
}

/** Adds to a failure before the call began that nothing was charged, as every other refusal of a call says. Returns other errors as they are. */
export function nothingCharged(error: unknown, providerKeyId: string | null): unknown {
  const isOurs = error instanceof DatabaseUnavailableError || error instanceof ProviderKeyUnreadableError;
  return isOurs ? withoutCharge(error, { providerKeyId }) : error;
}

/** Turns any error into a problem: the database is unavailable, or it is a bug of ours. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return isUnavailable(error) ? new DatabaseUnavailableError(error) : new InternalError(error);
}

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
