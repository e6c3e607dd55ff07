import { Inject, Injectable } from '@nestjs/common';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import type { ProblemCode } from '../../../platform/errors/problem-catalog.js';
import type { Problem } from '../../../platform/errors/problem.js';
import type { LimitReport } from '../../../identity/rate-limits/rate-limit.guard.js';
import {
  ConcurrencyLimitExceededError,
  ImageLimitExceededError,
} from '../../../identity/rate-limits/rate-limit.errors.js';
import { type Pass, RateLimiter } from '../../../identity/rate-limits/rate-limiter.service.js';
import type { Usage } from '../../../identity/rate-limits/rate-limit-policies.js';
import { AnswerMemory, AnswersBusyError, type AnswerReservation } from './answer-memory.js';
import { type Caller, isPerhapsRepeated } from './caller.js';
import type { GenerationAnswer } from './generation-answer.js';
import { PaidCallError, withoutCharge } from './generation.errors.js';
import type { ImageRequest } from './image-request.js';
import { GenerationReaderService } from './records/generation-reader.service.js';

/** With these codes the provider did not accept the call, so it made no images. */
const NOT_TAKEN_CODES: readonly ProblemCode[] = ['concurrency_limit_exceeded', 'upstream_unavailable'];

/** How many answers of earlier calls an account may fetch concurrently while it is over its limits. */
const BEYOND_PER_ACCOUNT_MAX = 10;

/**
 * Limits how many images a minute and how many concurrent calls an account may have, for every kind of call, and the memory of their
 * answers. All are counted after the request is parsed, and before anything is fetched, decoded or set aside for it; so a refused
 * call has not touched a wallet.
 *
 * Only images that a provider was asked for count. Those of a call that was refused earlier (402, 409, 422, a provider without
 * capacity) and those of a replay are given back, because they were never made.
 */
@Injectable()
export class ImageCallLimitsService {
  private readonly replaysByAccount = new Map<string, number>();

  constructor(
    private readonly limiter: RateLimiter,
    private readonly reader: GenerationReaderService,
    private readonly memory: AnswerMemory,
    @Inject(SETTINGS) private readonly settings: Pick<Settings, 'rateLimit'>,
  ) {}

  /**
   * Admits a call, or rejects with `rate_limit_exceeded` or `concurrency_limit_exceeded` (429), and then nothing is charged. A call
   * beyond the limits is admitted if it may have the answer of an earlier one, because a replay makes no images.
   */
  async acquire(
    { images, responseFormat }: Pick<ImageRequest, 'images' | 'responseFormat'>,
    caller: Caller,
  ): Promise<CallSlot> {
    const memory = responseFormat === 'b64_json' ? this.reserveMemory(caller) : null;
    const { principal, limits } = caller;
    if (!this.settings.rateLimit) return new CallSlot(limits, memory, null, null);
    const { usages, pass } = await this.limiter.enter(
      [
        { name: 'images', cost: images },
        { name: 'concurrent_image_calls', cost: 1 },
      ],
      principal,
    );
    limits.show(usages);
    if (pass !== null) return new CallSlot(limits, memory, pass, null);
    const refusal = withoutCharge(toRefusal(usages, images));
    const replay = (await this.mayHaveAnswer(caller)) ? this.admitReplay(principal.accountId) : null;
    if (replay === null) throw refusal;
    return new CallSlot(limits, memory, replay, refusal);
  }

  /** Runs before any credit is set aside, so that no image is refused after it was paid. */
  private reserveMemory({ principal, limits }: Caller): AnswerReservation {
    try {
      const reservation = this.memory.reserve(principal.accountId);
      limits.onAnswerEnd(reservation.release);
      return reservation;
    } catch (error) {
      throw error instanceof AnswersBusyError ? withoutCharge(error) : error;
    }
  }

  /** Whether an earlier call may have the answer: one with the same key has succeeded, or the client repeats its calls. */
  private async mayHaveAnswer(caller: Caller): Promise<boolean> {
    const { principal, idempotencyKey } = caller;
    if (idempotencyKey === null) return isPerhapsRepeated(caller);
    const earlier = await this.reader.findByIdempotencyKey(principal.accountId, idempotencyKey);
    return earlier?.status === 'succeeded';
  }

  /** Only a few replays of an account may run concurrently, so that they cannot be used to bypass the limits. */
  private admitReplay(accountId: string): Pick<Pass, 'release'> | null {
    const underWay = this.replaysByAccount.get(accountId) ?? 0;
    if (underWay >= BEYOND_PER_ACCOUNT_MAX) return null;
    this.replaysByAccount.set(accountId, underWay + 1);
    return { release: () => this.endReplay(accountId) };
  }

  private endReplay(accountId: string): void {
    const left = (this.replaysByAccount.get(accountId) ?? 0) - 1;
    if (left > 0) this.replaysByAccount.set(accountId, left);
    else this.replaysByAccount.delete(accountId);
  }
}

/**
 * The admission of one call. It counts until the answer was sent or its connection has ended, so an answer that the client does not
 * read still counts.
 */
export class CallSlot {
  /** A call that ends in an unforeseen way is counted, to be on the safe side. */
  private wasMade = true;

  constructor(
    private readonly limits: LimitReport,
    /** The memory that the answer may use; null when it has no images in it. */
    readonly memory: AnswerReservation | null,
    /** Null when nothing is counted. Only the images of a call within the limits can be given back. */
    private readonly pass: Pass | Pick<Pass, 'release'> | null,
    /** What the caller receives when the limits are used up and there is no earlier answer; null within the limits. */
    private readonly refusal: Problem | null,
  ) {}

  /**
   * Whether the call may go on without an earlier answer. Beyond the limits, a call with an idempotency key goes on, because one with
   * the same key has succeeded: it can only be answered by a replay.
   */
  mayStart({ idempotencyKey }: Pick<Caller, 'idempotencyKey'>): boolean {
    return this.refusal === null || idempotencyKey !== null;
  }

  /** Returns the answer of the call, and throws the refusal when there is none. */
  accept(answer: GenerationAnswer | null): GenerationAnswer {
    if (answer === null) throw this.refusal ?? new Error('a call within its limits was not made');
    this.wasMade = !answer.replayed;
    return answer;
  }

  /** Notes that the call has failed, and whether a provider accepted it. One that was refused before that names no generation. */
  fail(error: unknown): void {
    this.wasMade =
      error instanceof PaidCallError &&
      error.details['generation_id'] !== undefined &&
      !NOT_TAKEN_CODES.includes(error.code);
  }

  async release(): Promise<void> {
    const { pass, limits } = this;
    if (pass === null) return;
    limits.onAnswerEnd(() => pass.release());
    if (!this.wasMade && 'giveBack' in pass) limits.show(await pass.giveBack());
  }
}

function toRefusal(usages: readonly Usage[], images: number): Problem {
  const exceeded = usages.find((usage) => usage.exceeded);
  if (exceeded === undefined) throw new Error('a refused call has exceeded a limit');
  return exceeded.unit === 'images'
    ? new ImageLimitExceededError(exceeded, images)
    : new ConcurrencyLimitExceededError(exceeded);
}
