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
import { type Caller, isSilentlyRepeated, type RetryingClient } from '../caller.js';
import { IdempotencyService } from '../idempotency.service.js';
import { toFingerprint, type ImageRequest } from '../image-request.js';
import { GenerationReaderService } from '../records/generation-reader.service.js';
import { RunningGenerationsService, CallOutcomesService } from '../running-generations.service.js';
import { createBackOff, waitForFirst } from './back-off.js';
import { DuplicateCallsService, NOTHING_FOUND, type Found } from './duplicate-calls.service.js';
import { RefusedAttemptsService } from './refused-attempts.service.js';
import { CLAIM_MS, RetryClaimsService, type Retry } from './retry-claims.service.js';
import { nextRetryStep } from './retry-step.js';

/**
 * How many retries may wait for the same call in this process, in addition to one for each running attempt at it. An SDK has a few
 * connections for one call at most, and usually one.
 */
const WAITING_PER_CALL_MAX = 3;

/** A retry that searches for an earlier attempt. */
type Search = { readonly retry: Retry; readonly client: RetryingClient; readonly slot: WaitingSlot };

/** A retry that has claimed an earlier attempt, whose id is `id`. */
type Joined = Search & { readonly id: string };

/** One of the few slots for waiting retries. A retry acquires it when it has to wait, and keeps it until it ends. */
type WaitingSlot = {
  /** Throws `EarlierAttemptRunningError` when all are in use. */
  readonly acquire: () => void;
  readonly release: () => void;
};

/**
 * Handles calls that an SDK sends again by itself, without an idempotency key. Each retry takes one earlier attempt at the same
 * call whose answer did not reach its client, waits for it and returns its answer. `README.md` in this folder says what is
 * promised, and what cannot be.
 */
@Injectable()
export class RetriedCallsService {
  private readonly logger = new Logger(RetriedCallsService.name);
  /** How many retries are waiting, by the API key and fingerprint of their call. */
  private readonly waiting = new Map<string, number>();

  constructor(
    private readonly claims: RetryClaimsService,
    private readonly outcomes: CallOutcomesService,
    private readonly refused: RefusedAttemptsService,
    private readonly duplicates: DuplicateCallsService,
    private readonly reader: GenerationReaderService,
    private readonly idempotency: IdempotencyService,
    private readonly running: RunningGenerationsService,
    private readonly engine: WalletEngine,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Returns the answer of the earlier attempt. Without an answer the call has to run, because it is no retry or there is no attempt
   * for it to take. Rejects with a `PaidCallError` that says that this retry was charged nothing; its cause is
   * `OutcomeUnknownError` (503, must not be sent again) when the outcome of the attempt is unknown, or
   * `EarlierAttemptRunningError` (409, to be sent again) when the attempt does not end in time.
   */
  async find(
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
    const fingerprint = toFingerprint(request);
    const retry = { accountId, apiKeyId, fingerprint, outputFormat, claim: randomUUID() };
    const slot = this.createSlot(retry);
    try {
      return await this.search({ retry, client, slot });
    } catch (error) {
      throw nothingChargedFor(error, null);
    } finally {
      slot.release();
    }
  }

  private createSlot(retry: Retry): WaitingSlot {
    const call = `${retry.apiKeyId}:${retry.fingerprint}`;
    let isAcquired = false;
    const change = (by: 1 | -1): void => {
      const waiting = (this.waiting.get(call) ?? 0) + by;
      if (waiting > 0) this.waiting.set(call, waiting);
      else this.waiting.delete(call);
      isAcquired = by === 1;
    };
    return {
      acquire: () => {
        if (isAcquired) return;
        const slots = WAITING_PER_CALL_MAX + this.running.findIds(retry).length;
        if ((this.waiting.get(call) ?? 0) >= slots) throw new EarlierAttemptRunningError();
        change(1);
      },
      release: () => {
        if (isAcquired) change(-1);
      },
    };
  }

  /** Remembers that a call of such a client has failed: if it was refused without a charge, its retry is a new call. */
  noteFailure(
    request: ImageRequest,
    { client, idempotencyKey, principal }: Pick<Caller, 'client' | 'idempotencyKey' | 'principal'>,
    error: unknown,
  ): void {
    if (client === null || idempotencyKey !== null) return;
    const { accountId, keyId: apiKeyId } = principal;
    this.refused.note({ accountId, apiKeyId, fingerprint: toFingerprint(request) }, client, error);
  }

  private async search(search: Search): Promise<Found> {
    const { retry, client, slot } = search;
    const deadlineMs = this.clock.nowMs() + this.limits.callDeadlineMs;
    let othersUntilMs: number | null = null;
    const pause = createBackOff();
    for (;;) {
      const nowMs = this.clock.nowMs();
      if (client.isGone()) throw new ClientGoneError();
      if (nowMs >= deadlineMs) throw new EarlierAttemptRunningError();
      const id = await this.claims.claim(retry, nowMs);
      if (id !== null) {
        const answer = await this.follow({ ...search, id }, deadlineMs);
        if (answer !== null) return { answer, otherCallsHoldIds: [] };
        continue;
      }
      const underWay = this.running.findIds(retry);
      const outlook = await this.claims.outlook(retry, underWay, nowMs);
      othersUntilMs ??= outlook.claimedUntilMs;
      const { retryCount } = client;
      const step = nextRetryStep({ outlook, retryCount, underWay: underWay.length, othersUntilMs, nowMs });
      if (step.type === 'void' && (await this.void(retry, step.holdId))) return NOTHING_FOUND;
      if (step.type === 'run') {
        const answer = await this.findAnswered(search, deadlineMs);
        return { answer, otherCallsHoldIds: outlook.heldIds };
      }
      if (step.type !== 'wait') continue;
      slot.acquire();
      // An attempt in this process resolves `ended`; the pause is for attempts in other processes.
      await waitForFirst(this.running.ended(...underWay), client.answered, pause());
    }
  }

  /** Claims an attempt that was answered in the last seconds: a proxy may have received the answer and then lost its client. */
  private async findAnswered(search: Search, deadlineMs: number): Promise<GenerationAnswer | null> {
    const { retry, client } = search;
    if (this.refused.explains(retry, client)) return null;
    const id = await this.claims.claimAnswered(retry, client.retryCount, this.clock.nowMs());
    return id === null ? null : this.follow({ ...search, id }, deadlineMs);
  }

  /** Voids the hold of an attempt that seems dead. Returns false when that attempt was alive and has captured it, so its row exists. */
  private async void({ accountId }: Retry, holdId: string): Promise<boolean> {
    const outcome = await this.engine.execute({ type: 'void', accountId, holdId, actor: 'system' });
    return outcome.type === 'hold';
  }

  /** Returns null when the attempt's answer has reached its own client, or it failed without a charge: then another one is needed. */
  private async follow(joined: Joined, deadlineMs: number): Promise<GenerationAnswer | null> {
    const { id, client } = joined;
    try {
      const answer = await this.waitForAnswer(joined, deadlineMs);
      if (answer !== null) void client.answered.then((answered) => this.endWith(joined, answered));
      return answer;
    } catch (error) {
      await this.end(joined, false);
      throw nothingChargedFor(error, id);
    }
  }

  private async waitForAnswer(joined: Joined, deadlineMs: number): Promise<GenerationAnswer | null> {
    const { retry, id, client, slot } = joined;
    let renewAtMs = this.clock.nowMs() + CLAIM_MS / 3;
    const pause = createBackOff();
    for (;;) {
      const attempt = await this.reader.find({ accountId: retry.accountId, id });
      if (attempt?.retryClaim !== retry.claim || attempt.retryState !== 'claimed') return null;
      if (attempt.status === 'succeeded') return this.idempotency.replay(attempt);
      if (attempt.status === 'unresolved') throw new OutcomeUnknownError();
      const nowMs = this.clock.nowMs();
      if (client.isGone()) throw new ClientGoneError();
      if (nowMs >= deadlineMs) throw new EarlierAttemptRunningError();
      slot.acquire();
      if (nowMs >= renewAtMs) {
        await this.claims.renew(retry, id, nowMs);
        renewAtMs = nowMs + CLAIM_MS / 3;
      }
      const ended = this.running.ended(id);
      await waitForFirst(ended, client.answered, ended === null ? pause() : CLAIM_MS / 3);
    }
  }

  private async endWith(joined: Joined, answered: boolean): Promise<void> {
    const ended = this.end(joined, answered);
    const { retry, id, client } = joined;
    if (answered) this.outcomes.watchConnection({ accountId: retry.accountId, id }, client, ended);
    await ended;
  }

  /** Ends the claim. If this write fails, the claim expires by itself. */
  private async end({ retry, id, client }: Joined, answered: boolean): Promise<void> {
    try {
      await this.claims.end(retry, id, client.retryCount, answered);
    } catch (error) {
      this.logger.warn(
        { event: 'generation.retry_end_not_recorded', generation: id, err: error },
        'The end of a retry could not be recorded; its claim expires by itself',
      );
    }
  }
}

function nothingChargedFor(error: unknown, generationId: string | null): PaidCallError {
  if (error instanceof PaidCallError) return error;
  return withoutCharge(toProblem(error), { generationId });
}
