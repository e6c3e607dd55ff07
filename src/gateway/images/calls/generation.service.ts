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
import type { LimitReport } from '../../../identity/rate-limits/rate-limit.guard.js';
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
import { toFingerprint, type ImageRequest } from './image-request.js';
import { MediaSigner } from '../media/media-signer.js';
import type { Payment, Settlement } from './payment/payment.js';
import { GenerationReader } from './records/generation-reader.service.js';
import { GenerationRecords } from './records/generation-records.service.js';
import { getBillingMode, sharedFormat, type Generation, type GenerationFacts } from './records/generation.js';
import { RunningGenerations } from './running-generations.service.js';
import { AnswerEndings } from './retries/answer-endings.service.js';
import { isSilentlyRepeated, type RetryingClient } from './retries/retrying-client.js';
import { mostSevere, toCustomerProblem } from './delivery-failure.js';

/** The caller of an image route, as authentication found it, with the headers that the call depends on. */
export type Caller = {
  readonly principal: AccountPrincipal;
  readonly requestId: string;
  readonly idempotencyKey: string | null;
  /** `x-coffer-tag`. */
  readonly tag: string | null;
  /** Null for a client that does not announce its retries. */
  readonly client: RetryingClient | null;
  /** Open holds for the same request that a retry has found to belong to other calls. */
  readonly otherCallsHoldIds?: readonly string[];
  /** Receives what the rate limits count, for the headers of the answer. */
  readonly limits: LimitReport;
  /** The memory that the answer may use; null when it has no images in it. */
  readonly answerMemory?: AnswerReservation | null;
};

/** The price, the providers and the payment of a call. The service that knows who pays chooses them before anything else happens. */
export type Terms = {
  readonly price: Price;
  readonly upstream: Upstream;
  /** The BYOK call that was refused and that this call replaces. */
  readonly fellBackFrom: string | null;
  /** Adds to the generation who pays for it, and chooses the payment. */
  readonly fund: (facts: GenerationFacts) => FundedGeneration;
};

export type FundedGeneration = { readonly generation: Generation; readonly payment: Payment };

/** A call that is running. */
type Call = FundedGeneration & {
  readonly client: RetryingClient | null;
  readonly otherCallsHoldIds: readonly string[];
  readonly repeatsSilently: boolean;
  readonly answerMemory: AnswerReservation | null;
  readonly upstream: Upstream;
  readonly startedAtMs: number;
  /** Registers work that may end after the client has its answer. It must not reject. */
  readonly afterwards: (rest: Promise<void>) => void;
};

type Work = {
  readonly authorizedAtMs: number;
  readonly deliveredAtMs: number;
  readonly results: readonly ImageResult[];
};

/**
 * Makes one call on given terms: hold, provider, capture, answer. It knows a `Payment` but no wallet, so it serves BYOK calls as
 * well as paid ones. The provider is called outside any tx and while no wallet is locked. `README.md` in this folder shows the
 * order of the commits, and what is left when a process crashes between any two of them.
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
    const { generation, payment } = terms.fund(this.begin(request, caller, terms));
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
      fingerprint: toFingerprint(request),
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
   * Sets the price aside. Returns null when the call may continue, or the answer of an earlier call with the same idempotency key.
   * With such a key the row is written first, because only the call that runs may set credit aside, not its copies.
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
      // A failed row frees its idempotency key, so that the same key works after a top-up. If this write fails as well,
      // recovery finds the row when its lease expires.
      await this.finish(generation, ZERO, errorCode, {
        authorizedAtMs: null,
        deliveredAtMs: null,
        results: [],
      });
      throw error;
    }
  }

  /**
   * A client that sends a call again has given up its first attempt. If the connection of this attempt has ended, no credit is set
   * aside for it, and a hold that was made in the meantime is released. If the connection does not show it, the wallet's lock
   * decides which of the two attempts gets the credit.
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
    // The row is written while the provider works. If the process dies before that, the hold has no row, and recovery voids it.
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
      // Without a row no replay or receipt could find the images, so the call ends as if there were none.
      await settle(payment, 0);
      await this.maker.discard(generation, results);
      throw error;
    }
    return isOurs ? this.conclude(call, work) : this.followRecovery(call, await settle(payment, 0), work);
  }

  /** The timer is cleared when the work ends. Those of `AbortSignal.timeout` would accumulate for over a hundred seconds. */
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
    const problem = delivered.length === 0 && failure !== null ? toCustomerProblem(failure) : null;
    const finish = (answered?: boolean) =>
      this.finish(generation, settlement.chargedMicros, problem?.code ?? null, work, answered);
    // The money is settled and the images are stored, so the outcome may be written after the answer. With an idempotency key
    // it is written first: a copy of the call that arrives after the answer has to find the outcome.
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
      billingMode: getBillingMode(generation),
      fellBackFrom: generation.fellBackFrom,
      chargedMicros,
      availableMicros,
      replayed: false,
    };
  }

  /** Keeps the hold and leaves the call to recovery, which asks the provider from now on. */
  private async lose({ generation }: Call, work: Work): Promise<never> {
    const problem = new OutcomeUnknownError();
    const { authorizedAtMs, results } = work;
    try {
      await this.records.lose(generation, problem.code, authorizedAtMs, results, this.clock.nowMs());
    } catch (error) {
      // Recovery finds the call when its lease expires. The outcome is still unknown, so the client must not call again.
      this.logger.warn(
        { event: 'generation.unresolved_not_recorded', generation: generation.id, err: error },
        'A call of unknown outcome could not be recorded; recovery finds it when its lease expires',
      );
    }
    throw problem;
  }

  /**
   * Recovery took this process for dead and has settled the call. What recovery charged and recorded is final; if it charged
   * nothing, the images are not delivered.
   */
  private async followRecovery(call: Call, settlement: Settlement, work: Work): Promise<GenerationAnswer> {
    const { generation } = call;
    // Without a hold only the receipt shows whether recovery delivered the images. If it did, they must not be discarded.
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
    // The call is charged, but recovery has not recorded its images yet.
    if (stored?.status !== 'succeeded') throw new ChargeUnknownError(new Error('not recorded yet'));
    return this.idempotency.replay(stored);
  }

  /** Records the outcome. The money is settled by now; if this write fails, recovery derives the same outcome from the hold. */
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
      const received = answered === undefined ? {} : { answered };
      const ending = { ...work, ...received, chargedMicros, errorCode, finishedAtMs };
      await this.records.finish(generation, ending);
    } catch (error) {
      this.logger.warn(
        { event: 'generation.outcome_not_recorded', generation: generation.id, err: error },
        'The outcome of a call could not be recorded; recovery records it',
      );
    }
  }

  /** Reports a call that ended before a provider was asked. Most of them have no record, so the problem names no generation. */
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

/** After the provider was asked, an unavailable database does not mean that nothing will be charged, so the charge is unknown. */
function settle(payment: Payment, images: number): Promise<Settlement> {
  return payment.settle(images).catch((error: unknown) => {
    throw new ChargeUnknownError(error);
  });
}
