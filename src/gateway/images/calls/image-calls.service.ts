import { Injectable } from '@nestjs/common';
import type { ProblemCode } from '../../../platform/errors/problem-catalog.js';
import type { Problem } from '../../../platform/errors/problem.js';
import { OtherAttemptError, ProviderKeyAttachedError } from '../../../money/wallets/wallet.errors.js';
import { AnswerMemory, AnswersBusyError, type AnswerReservation } from './answer-memory.js';
import type { GenerationAnswer } from './generation-answer.js';
import { nothingCharged, PaidCallError, withoutCharge } from './generation.errors.js';
import type { Caller } from './generation.service.js';
import type { ImageRequest } from './image-request.js';
import { ImageCallLimits } from './limits/image-call-limits.service.js';
import { WalletFundedCalls } from './wallet-funded-calls.service.js';
import { ByokCalls, type Byok } from './byok-calls.service.js';
import { RetriedCalls } from './retries/retried-calls.service.js';
import { isPerhapsRepeated } from './retries/retrying-client.js';

/** What an account may choose to have paid from the wallet instead; nothing else ever is. */
const FALL_BACK_CODES: readonly ProblemCode[] = ['byok_key_rejected', 'byok_upstream_insufficient_credits'];

/** Each turn finds a hold, or a provider key, that was not there before; a call has few attempts and an account few keys. */
const TURNS_MAX = 10;

/** A call that its limits and memory are asked for before it is whole: before its images are fetched, for one. */
export type Unfinished = Pick<ImageRequest, 'images' | 'responseFormat'> & {
  readonly complete: () => Promise<ImageRequest>;
};

/**
 * The door of the images API: over the customer's own provider key when there is one, from the wallet otherwise. The
 * two never mix. A call whose key was refused is over; where the account asked for it, an ordinary one begins.
 */
@Injectable()
export class ImageCalls {
  constructor(
    private readonly byok: ByokCalls,
    private readonly ordinary: WalletFundedCalls,
    private readonly retried: RetriedCalls,
    private readonly limits: ImageCallLimits,
    private readonly memory: AnswerMemory,
  ) {}

  /**
   * Rejects with a `Problem` that says what was charged.
   *
   * @param asked `complete` of an unfinished one runs when the limits have let the call in.
   */
  async generate(asked: ImageRequest | Unfinished, caller: Caller): Promise<GenerationAnswer> {
    let request = 'complete' in asked ? null : asked;
    try {
      const answerMemory = asked.responseFormat === 'b64_json' ? this.reserveMemory(caller) : null;
      const call = { ...caller, answerMemory };
      return await this.limits.within(asked, caller, async (mayMake) => {
        request = 'complete' in asked ? await asked.complete() : asked;
        return this.findOrMake(request, call, mayMake);
      });
    } catch (error) {
      if (request !== null) this.retried.noteFailure(request, caller, error);
      throw error;
    }
  }

  /** Null: there is no earlier answer, and another one must not be made. */
  private async findOrMake(
    request: ImageRequest,
    caller: Caller,
    mayMake: boolean,
  ): Promise<GenerationAnswer | null> {
    for (let turn = 1; ; turn += 1) {
      const { answer, otherCallsHoldIds } = await this.retried.join(request, caller);
      // Whoever sends an idempotency key over its limits was answered before: what is made now is a replay.
      if (answer !== null || !(mayMake || caller.idempotencyKey !== null)) return answer;
      try {
        return await this.make(request, { ...caller, otherCallsHoldIds });
      } catch (error) {
        // The attempt that this retry looked for in vain has set its credit aside meanwhile: it is there to be found now.
        if (!isPerhapsRepeated(caller) || turn === TURNS_MAX || !isBecauseOf(error, OtherAttemptError))
          throw error;
      }
    }
  }

  /** Before anything is set aside for the call, so that no image that was paid is refused in the end. */
  private reserveMemory({ principal, limits }: Caller): AnswerReservation {
    try {
      const reservation = this.memory.reserve(principal.accountId);
      limits.onAnswerEnd(reservation.release);
      return reservation;
    } catch (error) {
      throw error instanceof AnswersBusyError ? withoutCharge(error) : error;
    }
  }

  /** What this process knows of the customer's keys chooses the way; where nobody's key is found, the charge's own commit decides. */
  private async make(request: ImageRequest, caller: Caller): Promise<GenerationAnswer> {
    for (let turn = 1; ; turn += 1) {
      const way = await this.byok.find(request, caller).catch(nothingCharged(null));
      if (way !== null) return this.overOwnKey(request, caller, way);
      try {
        return await this.ordinary.generate(request, caller);
      } catch (error) {
        if (turn === TURNS_MAX || !isBecauseOf(error, ProviderKeyAttachedError)) throw error;
        this.byok.forget(caller);
      }
    }
  }

  private async overOwnKey(request: ImageRequest, caller: Caller, way: Byok): Promise<GenerationAnswer> {
    try {
      return await this.byok.generate(request, caller, way).catch(nothingCharged(way.key.id));
    } catch (error) {
      const refused = way.key.fallBackToWallet ? refusedCall(error) : null;
      if (refused === null) throw error;
      return this.ordinary.generate(request, caller, refused);
    }
  }
}

function isBecauseOf(error: unknown, problem: new () => Problem): boolean {
  return error instanceof problem || (error instanceof PaidCallError && error.cause instanceof problem);
}

/** The id of a call that delivered nothing because of the customer's own key; null for any other failure. */
function refusedCall(error: unknown): string | null {
  if (!(error instanceof PaidCallError) || !FALL_BACK_CODES.includes(error.code)) return null;
  const id = error.details['generation_id'];
  return typeof id === 'string' ? id : null;
}
