import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import type { AccountPrincipal } from '../../../identity/auth/principal.js';
import type { Clock } from '../../../platform/common/clock.js';
import { newId } from '../../../platform/common/ids.js';
import { formatMicros, ZERO } from '../../../platform/common/money.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import type { Price } from '../../../money/pricing/price.js';
import { InternalError } from '../../../platform/errors/common.errors.js';
import { Problem } from '../../../platform/errors/problem.js';
import type { LimitReport } from '../../../identity/rate-limits/limit-report.js';
import { AnswerBodies } from './answer-bodies.service.js';
import type { AnswerReservation } from './answer-memory.js';
import type { GenerationAnswer } from './generation-answer.js';
import { GenerationJournal } from './generation-journal.js';
import { GENERATION_LIMITS, type GenerationLimits } from './generation-limits.js';
import {
  GENERATION_OBSERVER,
  silentGenerationObserver,
  type GenerationObserver,
  type GenerationOutcome,
} from './generation-observer.js';
import {
  ChargeUnknownError,
  ClientGoneError,
  OutcomeUnknownError,
  PaidCallError,
  topUpUrlFrom,
  toProblem,
  UpstreamFailedError,
} from './generation.errors.js';
import { Idempotency } from './idempotency.service.js';
import { ImageMaker, type ImageResult, type Upstream } from './image-maker.service.js';
import { fingerprintOf, type ImageRequest } from './image-request.js';
import { MediaSigner } from '../media/media-signer.js';
import type { Payment, Settlement } from './payment/payment.js';
import { GenerationReader } from './records/generation-reader.service.js';
import { GenerationRecords } from './records/generation-records.service.js';
import { billingModeOf, sharedFormat, type Generation, type GenerationFacts } from './records/generation.js';
import { RunningGenerations } from './running-generations.service.js';
import { AnswerEndings } from './retries/answer-endings.service.js';
import { isSilentlyRepeated, type RetryingClient } from './retries/retrying-client.js';
import { mostSevere, problemOf } from './delivery-failure.js';

/** Who calls, as the guard found it. */
export type Caller = {
  readonly principal: AccountPrincipal;
  readonly requestId: string;
  readonly idempotencyKey: string | null;
  /** `x-coffer-tag`. */
  readonly tag: string | null;
  /** Null: one that announces no retries. */
  readonly client: RetryingClient | null;
  /** Open holds for the same request that a retry has found to be of other calls. */
  readonly otherCallsHoldIds?: readonly string[];
  /** Told what is counted, for the headers of the answer. */
  readonly limits: LimitReport;
  /** What the answer may hold in memory; null: it has no images in it. */
  readonly answerMemory?: AnswerReservation | null;
};

/** On what terms a call is made: decided before anything else happens, by whoever knows who pays. */
export type Terms = {
  readonly price: Price;
  readonly upstream: Upstream;
  /** The refused call over the customer's own key that this one is made instead of. */
  readonly fellBackFrom: string | null;
  /** Completes the generation with who pays for it, and says how. */
  readonly billed: (facts: GenerationFacts) => Billed;
};

export type Billed = { readonly generation: Generation; readonly payment: Payment };

/** One call under way. */
type Call = Billed & {
  readonly client: RetryingClient | null;
  readonly otherCallsHoldIds: readonly string[];
  readonly repeatsSilently: boolean;
  readonly answerMemory: AnswerReservation | null;
  readonly upstream: Upstream;
  readonly startedAtMs: number;
  /** Takes what need not be over before the client has its answer. It must not reject. */
  readonly afterwards: (rest: Promise<void>) => void;
};

type Work = {
  readonly authorizedAtMs: number;
  readonly deliveredAtMs: number;
  readonly results: readonly ImageResult[];
};

/**
 * A call, on terms that are given: hold, provider, capture, answer. It knows no wallet, only a `Payment`; so it
 * carries calls over customers' own keys as well as paid ones. The provider is called outside any tx and with no
 * wallet locked. `README.md` in this folder shows the order of the commits, and what a crash between any
 * two of them leaves behind.
 */
@Injectable()
export class ImageGeneration {
  private readonly logger = new Logger(ImageGeneration.name);

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    @Optional()
    @Inject(GENERATION_OBSERVER)
    private readonly observer: GenerationObserver = silentGenerationObserver,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly records: GenerationRecords,
    private readonly reader: GenerationReader,
    private readonly idempotency: Idempotency,
    private readonly maker: ImageMaker,
    private readonly running: RunningGenerations,
    private readonly signer: MediaSigner,
    private readonly bodies: AnswerBodies,
    private readonly endings: AnswerEndings,
  ) {}

  /** Resolves after the charge is durable. Rejects with a `Problem` that says what was charged. */
  async generate(request: ImageRequest, caller: Caller, terms: Terms): Promise<GenerationAnswer> {
    const startedAtMs = performance.now();
    const { generation, payment } = terms.billed(this.begin(request, caller, terms));
    return this.running.track(generation, async (afterwards) => {
      const { client, otherCallsHoldIds = [], answerMemory = null } = caller;
      const ofCaller = {
        client,
        otherCallsHoldIds,
        answerMemory,
        repeatsSilently: isSilentlyRepeated(caller),
      };
      const call = { generation, payment, upstream: terms.upstream, ...ofCaller, startedAtMs, afterwards };
      const replay = await this.admit(call).catch((error: unknown) => this.refuse(call, error));
      return replay ?? this.run(call, request).catch((error: unknown) => this.fail(call, error));
    });
  }

  private begin(request: ImageRequest, caller: Caller, { price, fellBackFrom }: Terms): GenerationFacts {
    return {
      accountId: caller.principal.accountId,
      id: newId('generation'),
      apiKeyId: caller.principal.keyId,
      requestId: caller.requestId,
      model: request.model.id,
      priceId: price.id,
      priceMicros: price.amountMicros,
      imagesRequested: request.images,
      width: request.size.width,
      height: request.size.height,
      responseFormat: request.responseFormat,
      outputFormat: request.outputFormat,
      endUser: request.endUser,
      fingerprint: fingerprintOf(request),
      idempotencyKey: caller.idempotencyKey,
      mediaKeyId: this.signer.keyId,
      fellBackFrom,
      operation: request.operation,
      referencesCount: request.references.length,
      tag: caller.tag,
      attempt: caller.idempotencyKey === null ? (caller.client?.retryCount ?? null) : null,
      createdAtMs: this.clock.nowMs(),
    };
  }

  /**
   * Sets the price aside; null means that the call may go on. With an idempotency key the row comes first:
   * the copies of a call must not set credit aside, only the one that runs.
   */
  private async admit(call: Call): Promise<GenerationAnswer | null> {
    const { generation, payment } = call;
    const { idempotencyKey } = generation;
    if (idempotencyKey === null) {
      await this.authorizeAttempt(call);
      return null;
    }
    const replay = await this.idempotency.claim({ ...generation, idempotencyKey });
    if (replay !== null) return replay;
    try {
      await payment.authorize(null);
      return null;
    } catch (error) {
      const errorCode = error instanceof Problem ? error.code : 'internal_error';
      // Failed rows give their key back: after a top-up the same key works. If this is not written either,
      // recovery finds the row when its lease is over.
      await this.finish(generation, ZERO, errorCode, {
        authorizedAtMs: null,
        deliveredAtMs: null,
        results: [],
      });
      throw error;
    }
  }

  /**
   * A client that sends a call again gives up its first attempt, however far that has come. Where its connection shows
   * that, nothing is set aside for it, nor kept if it left meanwhile; where it does not, the wallet's lock decides
   * which of the two attempts gets the credit.
   */
  private async authorizeAttempt(call: Call): Promise<void> {
    const { generation, payment, client, otherCallsHoldIds, repeatsSilently, startedAtMs } = call;
    const attempt = { beganAtMs: generation.createdAtMs, beganAtMonotonicMs: startedAtMs, otherCallsHoldIds };
    if (client === null) {
      return payment.authorize(repeatsSilently ? { number: null, ...attempt } : null);
    }
    if (client.isGone()) throw new ClientGoneError();
    await payment.authorize({ number: client.retryCount, ...attempt });
    if (!client.isGone()) return;
    await settle(payment, 0);
    throw new ClientGoneError();
  }

  private async run(call: Call, request: ImageRequest): Promise<GenerationAnswer> {
    const { generation, payment, upstream, answerMemory } = call;
    const authorizedAtMs = this.clock.nowMs();
    // The row is written while the provider works. A call that dies before it is there leaves a hold
    // without one, which recovery voids.
    const { rowAfterMs } = this.limits;
    const journal = new GenerationJournal(
      this.records,
      generation,
      authorizedAtMs,
      this.clock,
      this.logger,
      rowAfterMs,
    );
    const results = await this.beforeDeadline((signal) =>
      this.maker.make(
        generation,
        request,
        upstream,
        signal,
        (known) => journal.add(known),
        answerMemory?.tryKeep,
      ),
    ).catch((error: unknown) => {
      journal.abandon();
      throw error;
    });
    const work = { authorizedAtMs, deliveredAtMs: this.clock.nowMs(), results };
    let isOurs: boolean;
    try {
      isOurs = await journal.close(results.some((result) => result.failure === null));
    } catch (error) {
      // Without a row nobody could look the images up: as if there were none.
      await settle(payment, 0);
      await this.maker.discard(generation, results);
      throw error;
    }
    return isOurs ? this.conclude(call, work) : this.followRecovery(call, await settle(payment, 0), work);
  }

  /** A timer that is cleared: those of `AbortSignal.timeout` would pile up, a hundred seconds' worth of calls. */
  private async beforeDeadline<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), this.limits.callDeadlineMs);
    try {
      return await work(deadline.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  private async conclude(call: Call, work: Work): Promise<GenerationAnswer> {
    const { generation, payment } = call;
    const delivered = work.results.filter((result) => result.failure === null);
    const failure = mostSevere(work.results.flatMap((result) => result.cause ?? []));
    if (delivered.length === 0 && failure?.kind === 'lost') return this.lose(call, work);
    const settlement = await settle(payment, delivered.length);
    if (settlement.imagesPaid !== delivered.length) return this.followRecovery(call, settlement, work);
    const problem = delivered.length === 0 && failure !== null ? problemOf(failure) : null;
    const finish = (answered?: boolean) =>
      this.finish(generation, settlement.chargedMicros, problem?.code ?? null, work, answered);
    // The money is settled and the images are stored. Only a copy of the call, which finds this one by its
    // idempotency key, must not come before the outcome is written down.
    if (generation.idempotencyKey !== null) await finish();
    else if (problem !== null) call.afterwards(finish());
    else call.afterwards(this.endings.record(call, finish));
    if (problem !== null) throw problem;
    this.report(call, 'succeeded', delivered.length);
    return this.answer(generation, settlement, delivered);
  }

  private answer(
    generation: Generation,
    settlement: Settlement,
    delivered: readonly ImageResult[],
  ): GenerationAnswer {
    const images = delivered.flatMap(({ position, format, bytes, image }) =>
      format === null || bytes === null ? [] : [{ position, format, bytes, image }],
    );
    const body = this.bodies.make(generation, images, sharedFormat(images));
    const { chargedMicros, availableMicros } = settlement;
    return {
      body,
      generationId: generation.id,
      billingMode: billingModeOf(generation),
      fellBackFrom: generation.fellBackFrom,
      chargedMicros,
      availableMicros,
      replayed: false,
    };
  }

  /** The hold stays, and recovery asks the provider from now on. */
  private async lose({ generation }: Call, work: Work): Promise<never> {
    const problem = new OutcomeUnknownError();
    const { authorizedAtMs, results } = work;
    try {
      await this.records.lose(generation, problem.code, authorizedAtMs, results, this.clock.nowMs());
    } catch (error) {
      // Recovery finds it later, when its lease is over. It is no less unknown: the client must not call again.
      this.logger.warn({ generation: generation.id, err: error }, 'A lost call is left to recovery to find');
    }
    throw problem;
  }

  /**
   * This process was thought dead and recovery settled the call. What it charged and wrote down counts; if
   * it charged nothing, the images are not handed out.
   */
  private async followRecovery(call: Call, settlement: Settlement, work: Work): Promise<GenerationAnswer> {
    const { generation } = call;
    // With no hold to go by, the receipt says whether recovery delivered the images: then they are not ours to discard.
    const delivered = generation.holdId === null ? await this.reader.find(generation) : null;
    if (delivered?.status === 'succeeded') return this.idempotency.replay(delivered);
    if (settlement.imagesPaid === 0) {
      await this.maker.discard(generation, work.results);
      const problem = new UpstreamFailedError();
      await this.finish(generation, ZERO, problem.code, { ...work, results: [] });
      throw problem;
    }
    const stored = await this.reader.find(generation).catch((error: unknown) => {
      throw new ChargeUnknownError(error);
    });
    // Charged, but recovery is still writing down for what.
    if (stored?.status !== 'succeeded') throw new ChargeUnknownError(new Error('not recorded yet'));
    return this.idempotency.replay(stored);
  }

  /** The money is settled; if this is not written, recovery writes it, from the same hold. */
  private async finish(
    generation: Generation,
    chargedMicros: Settlement['chargedMicros'],
    errorCode: string | null,
    work: { readonly authorizedAtMs: number | null; readonly deliveredAtMs: number | null } & Pick<
      Work,
      'results'
    >,
    answered?: boolean,
  ): Promise<void> {
    try {
      const finishedAtMs = this.clock.nowMs();
      const told = answered === undefined ? {} : { answered };
      const ending = { ...work, ...told, chargedMicros, errorCode, finishedAtMs };
      await this.records.finish(generation, ending);
    } catch (error) {
      this.logger.warn({ generation: generation.id, err: error }, 'An outcome is left to recovery to record');
    }
  }

  /** Nothing was asked of a provider, and most refusals leave no record to name. */
  private refuse(call: Call, error: unknown): never {
    this.report(call, 'refused', 0);
    throw this.explain(error, null, call.generation);
  }

  private fail(call: Call, error: unknown): never {
    const problem = this.explain(error, call.generation.id, call.generation);
    this.report(call, problem.details['outcome'] === 'pending' ? 'pending' : 'failed', 0);
    throw problem;
  }

  private explain(
    error: unknown,
    generationId: string | null,
    { providerKeyId, fellBackFrom }: Generation,
  ): Problem {
    const problem = toProblem(error);
    const isChargeKnown = !(problem instanceof ChargeUnknownError || problem instanceof InternalError);
    const chargedMicros = isChargeKnown ? formatMicros(ZERO) : null;
    const topUpUrl = providerKeyId === null ? topUpUrlFrom(this.settings) : null;
    return new PaidCallError(problem, { generationId, chargedMicros, topUpUrl, providerKeyId, fellBackFrom });
  }

  private report({ generation, startedAtMs }: Call, outcome: GenerationOutcome, images: number): void {
    this.observer.finished({
      model: generation.model,
      outcome,
      imagesDelivered: images,
      durationMs: performance.now() - startedAtMs,
      recovered: false,
    });
  }
}

/** Once the provider was asked, a ledger that is away does not mean that nothing will be charged. */
function settle(payment: Payment, images: number): Promise<Settlement> {
  return payment.settle(images).catch((error: unknown) => {
    throw new ChargeUnknownError(error);
  });
}
