import { Inject, Injectable } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../../../platform/config/settings.js';
import type { ProblemCode } from '../../../../platform/errors/problem-catalog.js';
import type { Problem } from '../../../../platform/errors/problem.js';
import {
  ConcurrencyLimitExceededError,
  ImageLimitExceededError,
} from '../../../../identity/rate-limits/rate-limit.errors.js';
import { type Pass, RateLimiter } from '../../../../identity/rate-limits/rate-limiter.service.js';
import type { Usage } from '../../../../identity/rate-limits/usage.js';
import type { GenerationAnswer } from '../generation-answer.js';
import { PaidCallError, withoutCharge } from '../generation.errors.js';
import type { Caller } from '../generation.service.js';
import type { ImageRequest } from '../image-request.js';
import { isPerhapsRepeated } from '../retries/retrying-client.js';
import { GenerationReader } from '../records/generation-reader.service.js';

/** The provider did not take the call, so it made nothing. */
const NOT_TAKEN_CODES: readonly ProblemCode[] = ['concurrency_limit_exceeded', 'upstream_unavailable'];

/** Answers of earlier calls that an account over its limits may still fetch at the same time. */
const BEYOND_PER_ACCOUNT_MAX = 10;

/**
 * How many images a minute, and how many calls at the same time: for every call, whoever pays. Both are counted when
 * the request is understood, before anything is fetched or decoded for it, and before anything is set aside; so a refusal has
 * touched no wallet.
 *
 * Images count that a provider was asked for. Those of a call that was refused before (402, 409, 422, a provider that is
 * full) and those of a replay are given back: nobody loses a minute over images that nobody made.
 */
@Injectable()
export class ImageCallLimits {
  private readonly beyondOfAccounts = new Map<string, number>();

  constructor(
    private readonly limiter: RateLimiter,
    private readonly reader: GenerationReader,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>,
  ) {}

  /**
   * Runs the call, or rejects with `rate_limit_exceeded` or `concurrency_limit_exceeded` (429), nothing charged. Its slot is
   * given back when the answer was sent or its connection has ended: an answer that nobody reads is a call under way.
   *
   * @param call called with false when the limits have no room for another call: then it may only answer what an earlier one
   * answered, or null.
   */
  async within(
    { images }: Pick<ImageRequest, 'images'>,
    caller: Caller,
    call: (mayMake: boolean) => Promise<GenerationAnswer | null>,
  ): Promise<GenerationAnswer> {
    if (!this.settings.rateLimit) return answered(await call(true));
    const { usages, pass } = await this.limiter.enter(
      [
        { name: 'images', cost: images },
        { name: 'concurrent_image_calls', cost: 1 },
      ],
      caller.principal,
    );
    caller.limits.show(usages);
    if (pass !== null) return this.pass(pass, caller, call);
    const answer = (await this.mayHaveAnswer(caller)) ? await this.beyond(caller, call) : null;
    if (answer === null) throw withoutCharge(refusalOf(usages, images));
    return answer;
  }

  private async pass(
    pass: Pass,
    caller: Caller,
    call: (mayMake: boolean) => Promise<GenerationAnswer | null>,
  ): Promise<GenerationAnswer> {
    // Whatever ends the call in a way that nobody foresaw: better counted than not.
    let wasMade = true;
    try {
      const answer = answered(await call(true));
      wasMade = !answer.replayed;
      return answer;
    } catch (error) {
      wasMade = isTaken(error);
      throw error;
    } finally {
      caller.limits.onAnswerEnd(() => pass.release());
      if (!wasMade) caller.limits.show(await pass.giveBack());
    }
  }

  /**
   * Makes nothing and runs nothing, so a limit does not stand between a client and its answer; only a few of an account at
   * the same time, or a replay would be a way around the limits. Null: there is no such answer, or there are too many.
   */
  private async beyond(
    { principal: { accountId }, limits }: Caller,
    call: (mayMake: boolean) => Promise<GenerationAnswer | null>,
  ): Promise<GenerationAnswer | null> {
    const underWay = this.beyondOfAccounts.get(accountId) ?? 0;
    if (underWay >= BEYOND_PER_ACCOUNT_MAX) return null;
    this.beyondOfAccounts.set(accountId, underWay + 1);
    try {
      return await call(false);
    } finally {
      limits.onAnswerEnd(() => {
        const left = (this.beyondOfAccounts.get(accountId) ?? 0) - 1;
        if (left > 0) this.beyondOfAccounts.set(accountId, left);
        else this.beyondOfAccounts.delete(accountId);
      });
    }
  }

  /** Whether an earlier call may have answered this one: its key has succeeded, or its client sends calls again. */
  private async mayHaveAnswer(caller: Caller): Promise<boolean> {
    const { principal, idempotencyKey } = caller;
    if (idempotencyKey === null) return isPerhapsRepeated(caller);
    const earlier = await this.reader.findByIdempotencyKey(principal.accountId, idempotencyKey);
    return earlier?.status === 'succeeded';
  }
}

/** A call that may be made is answered. */
function answered(answer: GenerationAnswer | null): GenerationAnswer {
  if (answer === null) throw new Error('a call within its limits was not made');
  return answer;
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
