import { randomUUID } from 'node:crypto';
import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { WalletEngine } from '../../../../money/wallets/wallet-engine.js';
import type { GenerationAnswer } from '../generation-answer.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../generation-limits.js';
import {
  ClientGoneError,
  EarlierAttemptRunningError,
  OutcomeUnknownError,
  PaidCallError,
  toProblem,
  withoutCharge,
} from '../generation.errors.js';
import type { Caller } from '../generation.service.js';
import { Idempotency } from '../idempotency.service.js';
import { fingerprintOf, type ImageRequest } from '../image-request.js';
import { GenerationReader } from '../records/generation-reader.service.js';
import { RunningGenerations } from '../running-generations.service.js';
import { backOff, firstOf } from './back-off.js';
import { AnswerEndings } from './answer-endings.service.js';
import { DuplicateCalls, NOTHING_FOUND, type Found } from './duplicate-calls.service.js';
import { RefusedAttempts } from './refused-attempts.service.js';
import { CLAIM_MS, RetryClaims, type Retry } from './retry-claims.service.js';
import { nextRetryStep } from './retry-step.js';
import { isSilentlyRepeated, type RetryingClient } from './retrying-client.js';

/**
 * Retries that wait for the same call in this process, beside one for each attempt at it that is under way here: an SDK has
 * at most a few connections for one call, and most often one.
 */
const WAITING_PER_CALL_MAX = 3;

/** A retry that looks for an attempt. */
type Seeker = { readonly retry: Retry; readonly client: RetryingClient; readonly place: WaitingPlace };

/** A retry that found an attempt, from then until its own client has the answer. */
type Joined = Seeker & { readonly id: string };

/** One of the few places to wait in. A retry takes it once it has to wait, and keeps it. */
type WaitingPlace = {
  /** Throws `EarlierAttemptRunningError` when all are taken. */
  readonly take: () => void;
  readonly leave: () => void;
};

/**
 * Calls that an SDK sends again by itself, without an idempotency key: each takes one earlier attempt at the same call
 * whose answer did not reach its client, waits for it and answers what it answered. `README.md` in this folder says
 * what is promised, and what cannot be.
 */
@Injectable()
export class RetriedCalls {
  private readonly logger = new Logger(RetriedCalls.name);
  /** How many retries of a call wait, by its key and fingerprint. */
  private readonly waiting = new Map<string, number>();

  constructor(
    private readonly claims: RetryClaims,
    private readonly endings: AnswerEndings,
    private readonly refused: RefusedAttempts,
    private readonly duplicates: DuplicateCalls,
    private readonly reader: GenerationReader,
    private readonly idempotency: Idempotency,
    private readonly running: RunningGenerations,
    private readonly engine: WalletEngine,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * No answer: this is no such retry, or there is nothing for it to take, and the call has to run. Otherwise the answer
   * of the earlier attempt. Rejects with a `PaidCallError` that says that this retry was charged nothing: of
   * `OutcomeUnknownError` (503, not to be sent again) when nobody knows how the attempt ended, of
   * `EarlierAttemptRunningError` (409, to be sent again) when it does not end.
   */
  async join(
    request: ImageRequest,
    caller: Pick<Caller, 'client' | 'idempotencyKey' | 'principal' | 'limits'>,
  ): Promise<Found> {
    const { client, idempotencyKey, principal } = caller;
    if (isSilentlyRepeated(caller)) {
      return this.duplicates.join(request, caller).catch((error: unknown) => {
        throw nothingChargedFor(error, null);
      });
    }
    if (client === null || client.retryCount === 0 || idempotencyKey !== null) return NOTHING_FOUND;
    const { accountId, keyId: apiKeyId } = principal;
    const { outputFormat } = request;
    const fingerprint = fingerprintOf(request);
    const retry = { accountId, apiKeyId, fingerprint, outputFormat, claim: randomUUID() };
    const place = this.placeFor(retry);
    try {
      return await this.find({ retry, client, place });
    } catch (error) {
      throw nothingChargedFor(error, null);
    } finally {
      place.leave();
    }
  }

  private placeFor(retry: Retry): WaitingPlace {
    const call = `${retry.apiKeyId}:${retry.fingerprint}`;
    let isTaken = false;
    const change = (by: 1 | -1): void => {
      const waiting = (this.waiting.get(call) ?? 0) + by;
      if (waiting > 0) this.waiting.set(call, waiting);
      else this.waiting.delete(call);
      isTaken = by === 1;
    };
    return {
      take: () => {
        if (isTaken) return;
        const places = WAITING_PER_CALL_MAX + this.running.idsOf(retry).length;
        if ((this.waiting.get(call) ?? 0) >= places) throw new EarlierAttemptRunningError();
        change(1);
      },
      leave: () => {
        if (isTaken) change(-1);
      },
    };
  }

  /** What a call of such a client has ended with: its retry is a new call where the attempt was refused for nothing. */
  noteFailure(
    request: ImageRequest,
    { client, idempotencyKey, principal }: Pick<Caller, 'client' | 'idempotencyKey' | 'principal'>,
    error: unknown,
  ): void {
    if (client === null || idempotencyKey !== null) return;
    const { accountId, keyId: apiKeyId } = principal;
    this.refused.note({ accountId, apiKeyId, fingerprint: fingerprintOf(request) }, client, error);
  }

  private async find(seeker: Seeker): Promise<Found> {
    const { retry, client, place } = seeker;
    const deadlineMs = this.clock.nowMs() + this.limits.callDeadlineMs;
    let othersUntilMs: number | null = null;
    const pause = backOff();
    for (;;) {
      const nowMs = this.clock.nowMs();
      if (client.isGone()) throw new ClientGoneError();
      if (nowMs >= deadlineMs) throw new EarlierAttemptRunningError();
      const id = await this.claims.claim(retry, nowMs);
      if (id !== null) {
        const answer = await this.follow({ ...seeker, id }, deadlineMs);
        if (answer !== null) return { answer, otherCallsHoldIds: [] };
        continue;
      }
      const underWay = this.running.idsOf(retry);
      const outlook = await this.claims.outlook(retry, underWay, nowMs);
      othersUntilMs ??= outlook.claimedUntilMs;
      const { retryCount } = client;
      const step = nextRetryStep({ outlook, retryCount, underWay: underWay.length, othersUntilMs, nowMs });
      if (step.type === 'void' && (await this.void(retry, step.holdId))) return NOTHING_FOUND;
      if (step.type === 'run') {
        const answer = await this.findAnswered(seeker, deadlineMs);
        return { answer, otherCallsHoldIds: outlook.heldIds };
      }
      if (step.type !== 'wait') continue;
      place.take();
      // An attempt of this process ends what is waited for by itself; the pause is for those of other processes.
      await firstOf(this.running.ended(...underWay), client.answered, pause());
    }
  }

  /** What was answered in the last seconds: the answer may have been lost behind the connection that took it. */
  private async findAnswered(seeker: Seeker, deadlineMs: number): Promise<GenerationAnswer | null> {
    const { retry, client } = seeker;
    if (this.refused.explains(retry, client)) return null;
    const id = await this.claims.claimAnswered(retry, client.retryCount, this.clock.nowMs());
    return id === null ? null : this.follow({ ...seeker, id }, deadlineMs);
  }

  /** False: the call was alive, and has been paid by now; so it is written down. */
  private async void({ accountId }: Retry, holdId: string): Promise<boolean> {
    const outcome = await this.engine.execute({ type: 'void', accountId, holdId, actor: 'system' });
    return outcome.type === 'hold';
  }

  /** Null: the attempt has reached its own client, or has failed for nothing: then it was not this retry's. */
  private async follow(joined: Joined, deadlineMs: number): Promise<GenerationAnswer | null> {
    const { id, client } = joined;
    try {
      const answer = await this.answerOf(joined, deadlineMs);
      if (answer !== null) void client.answered.then((answered) => this.endWith(joined, answered));
      return answer;
    } catch (error) {
      await this.end(joined, false);
      throw nothingChargedFor(error, id);
    }
  }

  private async answerOf(joined: Joined, deadlineMs: number): Promise<GenerationAnswer | null> {
    const { retry, id, client, place } = joined;
    let renewAtMs = this.clock.nowMs() + CLAIM_MS / 3;
    const pause = backOff();
    for (;;) {
      const attempt = await this.reader.find({ accountId: retry.accountId, id });
      if (attempt?.retryClaim !== retry.claim || attempt.retryState !== 'claimed') return null;
      if (attempt.status === 'succeeded') return this.idempotency.replay(attempt);
      if (attempt.status === 'unresolved') throw new OutcomeUnknownError();
      const nowMs = this.clock.nowMs();
      if (client.isGone()) throw new ClientGoneError();
      if (nowMs >= deadlineMs) throw new EarlierAttemptRunningError();
      place.take();
      if (nowMs >= renewAtMs) {
        await this.claims.renew(retry, id, nowMs);
        renewAtMs = nowMs + CLAIM_MS / 3;
      }
      const ended = this.running.ended(id);
      await firstOf(ended, client.answered, ended === null ? pause() : CLAIM_MS / 3);
    }
  }

  private async endWith(joined: Joined, answered: boolean): Promise<void> {
    const ended = this.end(joined, answered);
    const { retry, id, client } = joined;
    if (answered) this.endings.heed({ accountId: retry.accountId, id }, client, ended);
    await ended;
  }

  /** What is not written here is over when the claim is. */
  private async end({ retry, id, client }: Joined, answered: boolean): Promise<void> {
    try {
      await this.claims.end(retry, id, client.retryCount, answered);
    } catch (error) {
      this.logger.warn({ generation: id, err: error }, 'The end of a retry was not recorded');
    }
  }
}

function nothingChargedFor(error: unknown, generationId: string | null): PaidCallError {
  if (error instanceof PaidCallError) return error;
  return withoutCharge(toProblem(error), { generationId });
}
