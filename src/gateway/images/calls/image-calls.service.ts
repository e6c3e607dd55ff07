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

/** After these refusals, and no others, the wallet may pay instead of the provider key, if the account has chosen so. */
const FALL_BACK_CODES: readonly ProblemCode[] = ['byok_key_rejected', 'byok_upstream_insufficient_credits'];

/** Each attempt finds a hold or a provider key that did not exist before. A call has few attempts and an account few keys. */
const ATTEMPTS_MAX = 10;

/** A call whose limits and memory are checked before the rest of it is read; an edit fetches its reference images afterwards. */
export type IncompleteRequest = Pick<ImageRequest, 'images' | 'responseFormat'> & {
  readonly complete: () => Promise<ImageRequest>;
};

/**
 * The entry point of the images API. A call uses the customer's own provider key when there is one, and the wallet otherwise; no
 * call uses both. When the provider refuses the key, that call ends; if the account has asked for it, a wallet-funded call follows.
 */
@Injectable()
export class ImageCalls {
  constructor(
    private readonly byok: ByokCalls,
    private readonly walletFunded: WalletFundedCalls,
    private readonly retried: RetriedCalls,
    private readonly limits: ImageCallLimits,
    private readonly memory: AnswerMemory,
  ) {}

  /**
   * Rejects with a `Problem` that says what was charged.
   *
   * @param asked `complete` of an incomplete request is called after the limits have admitted the call.
   */
  async generate(asked: ImageRequest | IncompleteRequest, caller: Caller): Promise<GenerationAnswer> {
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

  /** Returns null when there is no earlier answer and no new one may be made. */
  private async findOrMake(
    request: ImageRequest,
    caller: Caller,
    mayMake: boolean,
  ): Promise<GenerationAnswer | null> {
    for (let attempt = 1; ; attempt += 1) {
      const { answer, otherCallsHoldIds } = await this.retried.join(request, caller);
      // Beyond the limits, a call with an idempotency key is let through only if it succeeded before, so this is a replay.
      if (answer !== null || !(mayMake || caller.idempotencyKey !== null)) return answer;
      try {
        return await this.make(request, { ...caller, otherCallsHoldIds });
      } catch (error) {
        // The earlier attempt that this retry did not find has set its credit aside in the meantime, so it can be found now.
        if (!isPerhapsRepeated(caller) || attempt === ATTEMPTS_MAX || !isBecauseOf(error, OtherAttemptError))
          throw error;
      }
    }
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

  /**
   * Uses a provider key if this process knows of one. Otherwise the commit that sets credit aside checks for a key that another
   * process has attached; it is refused when there is one, and the call starts over with that key.
   */
  private async make(request: ImageRequest, caller: Caller): Promise<GenerationAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      const byok = await this.byok.find(request, caller).catch(nothingCharged(null));
      if (byok !== null) return this.overOwnKey(request, caller, byok);
      try {
        return await this.walletFunded.generate(request, caller);
      } catch (error) {
        if (attempt === ATTEMPTS_MAX || !isBecauseOf(error, ProviderKeyAttachedError)) throw error;
        this.byok.forget(caller);
      }
    }
  }

  private async overOwnKey(request: ImageRequest, caller: Caller, byok: Byok): Promise<GenerationAnswer> {
    try {
      return await this.byok.generate(request, caller, byok).catch(nothingCharged(byok.key.id));
    } catch (error) {
      const refused = byok.key.fallBackToWallet ? refusedCall(error) : null;
      if (refused === null) throw error;
      return this.walletFunded.generate(request, caller, refused);
    }
  }
}

function isBecauseOf(error: unknown, problem: new () => Problem): boolean {
  return error instanceof problem || (error instanceof PaidCallError && error.cause instanceof problem);
}

/** Returns the id of a call that delivered nothing because the provider refused the customer's key; null for any other failure. */
function refusedCall(error: unknown): string | null {
  if (!(error instanceof PaidCallError) || !FALL_BACK_CODES.includes(error.code)) return null;
  const id = error.details['generation_id'];
  return typeof id === 'string' ? id : null;
}
