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

/** With these codes the provider did not accept the call, so it made no images. */
const NOT_TAKEN_CODES: readonly ProblemCode[] = ['concurrency_limit_exceeded', 'upstream_unavailable'];

/** How many answers of earlier calls an account may fetch concurrently while it is over its limits. */
const BEYOND_PER_ACCOUNT_MAX = 10;

/**
 * Limits how many images a minute and how many concurrent calls an account may have, for every kind of call. Both are counted after
 * the request is parsed, and before anything is fetched, decoded or set aside for it; so a refused call has not touched a wallet.
 *
 * Only images that a provider was asked for count. Those of a call that was refused earlier (402, 409, 422, a provider without
 * capacity) and those of a replay are given back, because they were never made.
 */
@Injectable()
export class ImageCallLimits {
  private readonly replaysByAccount = new Map<string, number>();

  constructor(
    private readonly limiter: RateLimiter,
    private readonly reader: GenerationReader,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>,
  ) {}

  /**
   * Runs the call, or rejects with `rate_limit_exceeded` or `concurrency_limit_exceeded` (429), and then nothing is charged. Its slot
   * is released when the answer was sent or its connection has ended, so an answer that the client does not read still counts.
   *
   * @param call is called with false when the limits allow no further call. Then it may only return the answer of an earlier call,
   * or null.
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
    if (pass !== null) return this.runAdmitted(pass, caller, call);
    const answer = (await this.mayHaveAnswer(caller)) ? await this.replayBeyondLimits(caller, call) : null;
    if (answer === null) throw withoutCharge(toRefusal(usages, images));
    return answer;
  }

  private async runAdmitted(
    pass: Pass,
    caller: Caller,
    call: (mayMake: boolean) => Promise<GenerationAnswer | null>,
  ): Promise<GenerationAnswer> {
    // A call that ends in an unforeseen way is counted, to be on the safe side.
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
   * Fetches an earlier answer although the limits are used up, because a replay makes no images. Only a few of an account may run
   * concurrently, so that replays cannot be used to bypass the limits. Returns null when there is no earlier answer or there are
   * too many such calls.
   */
  private async replayBeyondLimits(
    { principal: { accountId }, limits }: Caller,
    call: (mayMake: boolean) => Promise<GenerationAnswer | null>,
  ): Promise<GenerationAnswer | null> {
    const underWay = this.replaysByAccount.get(accountId) ?? 0;
    if (underWay >= BEYOND_PER_ACCOUNT_MAX) return null;
    this.replaysByAccount.set(accountId, underWay + 1);
    try {
      return await call(false);
    } finally {
      limits.onAnswerEnd(() => {
        const left = (this.replaysByAccount.get(accountId) ?? 0) - 1;
        if (left > 0) this.replaysByAccount.set(accountId, left);
        else this.replaysByAccount.delete(accountId);
      });
    }
  }

  /** Whether an earlier call may have the answer: one with the same key has succeeded, or the client repeats its calls. */
  private async mayHaveAnswer(caller: Caller): Promise<boolean> {
    const { principal, idempotencyKey } = caller;
    if (idempotencyKey === null) return isPerhapsRepeated(caller);
    const earlier = await this.reader.findByIdempotencyKey(principal.accountId, idempotencyKey);
    return earlier?.status === 'succeeded';
  }
}

/** A call within its limits always has an answer; null would be a bug. */
function answered(answer: GenerationAnswer | null): GenerationAnswer {
  if (answer === null) throw new Error('a call within its limits was not made');
  return answer;
}

function toRefusal(usages: readonly Usage[], images: number): Problem {
  const exceeded = usages.find((usage) => usage.exceeded);
  if (exceeded === undefined) throw new Error('a refused call has exceeded a limit');
  return exceeded.unit === 'images'
    ? new ImageLimitExceededError(exceeded, images)
    : new ConcurrencyLimitExceededError(exceeded);
}

/** Whether a provider accepted the call. A call that was refused before a provider was asked names no generation. */
function isTaken(error: unknown): boolean {
  return (
    error instanceof PaidCallError &&
    error.details['generation_id'] !== undefined &&
    !NOT_TAKEN_CODES.includes(error.code)
  );
}
