import { Inject, Injectable } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../config/settings.js';
import type { ProblemCode } from '../../problems/problem-catalog.js';
import type { Problem } from '../../problems/problem.js';
import {
  ConcurrencyLimitExceededError,
  ImageLimitExceededError,
} from '../../rate-limits/rate-limit.errors.js';
import { type Pass, RateLimiter } from '../../rate-limits/rate-limiter.service.js';
import type { Usage } from '../../rate-limits/usage.js';
import type { GenerationAnswer } from '../generation-answer.js';
import { PaidCallError, withoutCharge } from '../generation.errors.js';
import type { Caller } from '../generation.service.js';
import type { ImageRequest } from '../image-request.js';
import { GenerationReader } from '../records/generation-reader.service.js';

/** The provider did not take the call, so it made nothing. */
const NOT_TAKEN_CODES: readonly ProblemCode[] = ['concurrency_limit_exceeded', 'upstream_unavailable'];

/**
 * How many images a minute, and how many calls at the same time: for every call, whoever pays. Both are counted when
 * the request is understood and before anything is set aside; so a refusal has touched no wallet.
 *
 * Images count that a provider was asked for. Those of a call that was refused before (402, 409, 422, a provider that is
 * full) and those of a replay are given back: nobody loses a minute over images that nobody made.
 */
@Injectable()
export class ImageCallLimits {
  constructor(
    private readonly limiter: RateLimiter,
    private readonly reader: GenerationReader,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>,
  ) {}

  /** Runs the call, or rejects with `rate_limit_exceeded` or `concurrency_limit_exceeded` (429), nothing charged. */
  async within(
    { images }: ImageRequest,
    caller: Caller,
    call: () => Promise<GenerationAnswer>,
  ): Promise<GenerationAnswer> {
    if (!this.settings.rateLimit) return call();
    const { usages, pass } = await this.limiter.enter(
      [
        { name: 'images', cost: images },
        { name: 'concurrent_image_calls', cost: 1 },
      ],
      caller.principal,
    );
    caller.limits.show(usages);
    if (pass !== null) return this.pass(pass, caller, call);
    if (await this.isAnswered(caller)) return call();
    throw withoutCharge(refusalOf(usages, images));
  }

  private async pass(
    pass: Pass,
    caller: Caller,
    call: () => Promise<GenerationAnswer>,
  ): Promise<GenerationAnswer> {
    // Whatever ends the call in a way that nobody foresaw: better counted than not.
    let wasMade = true;
    try {
      const answer = await call();
      wasMade = !answer.replayed;
      return answer;
    } catch (error) {
      wasMade = isTaken(error);
      throw error;
    } finally {
      const left = await pass.leave(wasMade);
      if (!wasMade) caller.limits.show(left);
    }
  }

  /** A replay of a call that succeeded makes nothing and runs nothing: no limit stands between a client and its answer. */
  private async isAnswered({ principal, idempotencyKey }: Caller): Promise<boolean> {
    if (idempotencyKey === null) return false;
    const earlier = await this.reader.findByIdempotencyKey(principal.accountId, idempotencyKey);
    return earlier?.status === 'succeeded';
  }
}

function refusalOf(usages: readonly Usage[], images: number): Problem {
  const exceeded = usages.find((usage) => usage.exceeded);
  if (exceeded === undefined) throw new Error('a refused call has exceeded a limit');
  return exceeded.unit === 'images'
    ? new ImageLimitExceededError(exceeded, images)
    : new ConcurrencyLimitExceededError(exceeded);
}

/** A call that was refused before a provider was asked leaves no generation to name. */
function isTaken(error: unknown): boolean {
  return (
    error instanceof PaidCallError &&
    error.details['generation_id'] !== undefined &&
    !NOT_TAKEN_CODES.includes(error.code)
  );
}
