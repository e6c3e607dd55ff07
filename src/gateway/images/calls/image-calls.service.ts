import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { toActor } from '../../../identity/auth/principal.js';
import { OtherAttemptError, ProviderKeyAttachedError } from '../../../money/wallets/wallet.errors.js';
import type { Clock } from '../../../platform/common/clock.js';
import { newId } from '../../../platform/common/ids.js';
import { formatMicros, ZERO } from '../../../platform/common/money.js';
import { SETTINGS, type Settings } from '../../../platform/config/settings.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { InternalError } from '../../../platform/errors/common.errors.js';
import type { ProblemCode } from '../../../platform/errors/problem-catalog.js';
import { Problem } from '../../../platform/errors/problem.js';
import { MediaSigner } from '../media/media-store.js';
import type { ProviderFailure } from '../providers/provider-failure.js';
import { AnswerBodies, type GenerationAnswer } from './generation-answer.js';
import { CallOutcomesService, RunningGenerationsService, type Run } from './running-generations.service.js';
import { type Caller, isPerhapsRepeated, isSilentlyRepeated } from './caller.js';
import {
  mostSevere,
  toCustomerProblem,
  ChargeUnknownError,
  ClientGoneError,
  OutcomeUnknownError,
  PaidCallError,
  topUpUrlFrom,
  toProblem,
  UpstreamFailedError,
} from './generation.errors.js';
import type { Charge, ChosenFunding } from './funding/funding.js';
import { FundingService } from './funding/funding.service.js';
import { GenerationJournal, GenerationRecordsService } from './records/generation-records.service.js';
import { GENERATION_LIMITS, type GenerationLimits } from './generation-limits.js';
import {
  GENERATION_OBSERVER,
  silentGenerationObserver,
  type GenerationObserver,
  type GenerationOutcome,
} from './generation-observer.js';
import { IdempotencyService } from './idempotency.service.js';
import { ImageCallLimitsService, type CallSlot } from './image-call-limits.service.js';
import { ImageMakerService, type ImageResult } from './image-maker.service.js';
import { toFingerprint, type ImageRequest } from './image-request.js';
import { GenerationReaderService } from './records/generation-reader.service.js';
import { sharedFormat, toHoldId, type Generation, type Payer } from './records/generation.js';
import type { Found } from './retries/duplicate-calls.service.js';
import { RetriedCallsService } from './retries/retried-calls.service.js';

/** After these refusals, and no others, the wallet may pay instead of the provider key, if the account has chosen so. */
const FALL_BACK_CODES: readonly ProblemCode[] = ['byok_key_rejected', 'byok_upstream_insufficient_credits'];

/** Each start finds a hold or a provider key that did not exist before. A call has few attempts and an account few keys. */
const STARTS_MAX = 10;

/** A call whose limits and memory are checked before the rest of it is read; an edit fetches its reference images afterwards. */
export type IncompleteRequest = Pick<ImageRequest, 'images' | 'responseFormat'> & {
  readonly complete: () => Promise<ImageRequest>;
};

/** How a call starts: at first, or again after it was refused for a reason that another start may not find. */
type Start = {
  readonly number: number;
  /** The result of the search for an earlier answer; null when it has to be searched for. */
  readonly earlier: Found | null;
  /** The BYOK call that was refused and that this start replaces. */
  readonly fellBackFrom: string | null;
};

const FIRST_START: Start = { number: 1, earlier: null, fellBackFrom: null };

/** A call that has started. */
type Call = {
  readonly request: ImageRequest;
  readonly caller: Caller;
  readonly chosen: ChosenFunding;
  readonly generation: Generation;
  readonly run: Run;
  readonly otherCallsHoldIds: readonly string[];
  readonly startedAtMs: number;
  /** When its credit was set aside; null before that. From then on a provider may have been asked. */
  authorizedAtMs: number | null;
};

/** What the providers made of a call. */
type Images = {
  readonly results: readonly ImageResult[];
  readonly delivered: readonly ImageResult[];
  /** The failure that is reported when nothing was delivered. */
  readonly failure: ProviderFailure | null;
  readonly deliveredAtMs: number;
  /** False when recovery took this process for dead and has ended the call. */
  readonly isOurs: boolean;
};

/**
 * The images API: `create` is a call from its first limit to its last commit. `README.md` in this folder shows the order of the
 * commits, and what is left when a process crashes between any two of them.
 */
@Injectable()
export class ImageCallsService {
  private readonly logger = new Logger(ImageCallsService.name);

  constructor(
    @Inject(SETTINGS) private readonly settings: Settings,
    @Inject(GENERATION_LIMITS) private readonly timeLimits: GenerationLimits,
    @Optional()
    @Inject(GENERATION_OBSERVER)
    private readonly observer: GenerationObserver = silentGenerationObserver,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly limits: ImageCallLimitsService,
    private readonly retries: RetriedCallsService,
    private readonly funding: FundingService,
    private readonly idempotency: IdempotencyService,
    private readonly running: RunningGenerationsService,
    private readonly maker: ImageMakerService,
    private readonly records: GenerationRecordsService,
    private readonly reader: GenerationReaderService,
    private readonly outcomes: CallOutcomesService,
    private readonly signer: MediaSigner,
    private readonly bodies: AnswerBodies,
  ) {}

  /**
   * Resolves after the charge is durable. Rejects with a `Problem` that says what was charged.
   *
   * @param asked `complete` of an incomplete request is called after the limits have admitted the call.
   */
  async create(asked: ImageRequest | IncompleteRequest, caller: Caller): Promise<GenerationAnswer> {
    let request = 'complete' in asked ? null : asked;
    let slot: CallSlot | null = null;
    let start = FIRST_START;
    try {
      slot = await this.limits.acquire(asked, caller); // images a minute, calls at once, memory: 429
      request = 'complete' in asked ? await asked.complete() : asked;
      for (;;) {
        const earlier = start.earlier ?? (await this.retries.find(request, caller)); // an SDK's retry
        if (earlier.answer !== null || !slot.mayStart(caller)) return slot.accept(earlier.answer);
        const chosen = await this.funding.choose(request, caller, start.fellBackFrom); // wallet, provider key or free
        const call = this.start(request, caller, chosen, earlier);
        try {
          const replay = await this.authorize(call); // commit 1: a 402 ends here
          if (replay !== null) return slot.accept(replay);
          const images = await this.generate(call, slot); // no transaction is open
          const charge = await this.capture(call, images); // commit 2: the rest of the hold is released
          return slot.accept(await this.finish(call, images, charge)); // commit 3
        } catch (error) {
          start = this.startAgain({ ...start, earlier }, call, this.explain(call, error));
        } finally {
          call.run.end();
        }
      }
    } catch (error) {
      slot?.fail(error);
      if (request !== null) this.retries.noteFailure(request, caller, error);
      throw error;
    } finally {
      await slot?.release();
    }
  }

  private start(
    request: ImageRequest,
    caller: Caller,
    chosen: ChosenFunding,
    { otherCallsHoldIds }: Found,
  ): Call {
    const { principal, client, idempotencyKey } = caller;
    const id = newId('generation');
    const generation: Generation = {
      accountId: principal.accountId,
      id,
      apiKeyId: principal.keyId,
      requestId: caller.requestId,
      model: request.model.id,
      priceId: chosen.price.id,
      priceMicros: chosen.price.amountMicros,
      imagesRequested: request.images,
      width: request.size.width,
      height: request.size.height,
      responseFormat: request.responseFormat,
      outputFormat: request.outputFormat,
      endUser: request.endUser,
      fingerprint: toFingerprint(request),
      idempotencyKey,
      mediaKeyId: this.signer.keyId,
      fellBackFrom: chosen.fellBackFrom,
      operation: request.operation,
      referencesCount: request.references.length,
      tag: caller.tag,
      attempt: idempotencyKey === null ? (client?.retryCount ?? null) : null,
      createdAtMs: this.clock.nowMs(),
      ...toPayer(chosen, id),
    };
    const run = this.running.start(generation);
    const startedAtMs = performance.now();
    return { request, caller, chosen, generation, run, otherCallsHoldIds, startedAtMs, authorizedAtMs: null };
  }

  /**
   * Sets the price aside. Returns null when the call may continue, or the answer of an earlier call with the same idempotency key.
   * With such a key the row is written first, because only the call that runs may set credit aside, not its copies.
   */
  private async authorize(call: Call): Promise<GenerationAnswer | null> {
    const { generation, chosen, caller } = call;
    const { idempotencyKey } = generation;
    if (idempotencyKey === null) {
      await this.authorizeAttempt(call);
    } else {
      const replay = await this.idempotency.claim({ ...generation, idempotencyKey });
      if (replay !== null) return replay;
      const hold = {
        actor: toActor(caller.principal),
        attempt: null,
        unlessOwnKeyAt: chosen.unlessOwnKeyAt,
      };
      try {
        await chosen.funding.authorize(generation, hold);
      } catch (error) {
        const errorCode = error instanceof Problem ? error.code : 'internal_error';
        // A failed row frees its idempotency key, so that the same key works after a top-up. If this write fails as well,
        // recovery finds the row when its lease expires.
        const nothing = { chargedMicros: ZERO, authorizedAtMs: null, deliveredAtMs: null, results: [] };
        await this.outcomes.write(generation, { ...nothing, errorCode });
        throw error;
      }
    }
    call.authorizedAtMs = this.clock.nowMs();
    return null;
  }

  /**
   * A client that sends a call again has given up its first attempt. If the connection of this attempt has ended, no credit is set
   * aside for it, and a hold that was made in the meantime is released. If the connection does not show it, the wallet's lock
   * decides which of the two attempts gets the credit.
   */
  private async authorizeAttempt(call: Call): Promise<void> {
    const { generation, chosen, caller, otherCallsHoldIds, startedAtMs } = call;
    const { funding, unlessOwnKeyAt } = chosen;
    const { client } = caller;
    if (client?.isGone() === true) throw new ClientGoneError();
    const mayBeSentAgain = client !== null || isSilentlyRepeated(caller);
    const attempt = {
      number: client?.retryCount ?? null,
      beganAtMs: generation.createdAtMs,
      beganAtMonotonicMs: startedAtMs,
      otherCallsHoldIds,
    };
    const actor = toActor(caller.principal);
    await funding.authorize(generation, { actor, attempt: mayBeSentAgain ? attempt : null, unlessOwnKeyAt });
    if (client?.isGone() !== true) return;
    await this.captureImages(call, 0);
    throw new ClientGoneError();
  }

  /**
   * Asks the providers for the images. The row is written while they work; if the process dies before that, the hold has no row, and
   * recovery voids it. Throws `OutcomeUnknownError` when the providers may still deliver; then the hold is kept for recovery.
   */
  private async generate(call: Call, { memory }: CallSlot): Promise<Images> {
    const { generation, request, chosen } = call;
    const { callDeadlineMs, rowAfterMs } = this.timeLimits;
    const authorizedAtMs = call.authorizedAtMs ?? this.clock.nowMs();
    const { records, clock, logger } = this;
    const journal = new GenerationJournal(records, generation, authorizedAtMs, clock, logger, rowAfterMs);
    // The timer is cleared when the work ends. Those of `AbortSignal.timeout` would accumulate for over a hundred seconds.
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), callDeadlineMs);
    let results: readonly ImageResult[];
    try {
      const making = { signal: deadline.signal, journal, memory };
      results = await this.maker.make(generation, request, chosen.upstream, making);
    } catch (error) {
      journal.abandon();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    const deliveredAtMs = this.clock.nowMs();
    const delivered = results.filter((result) => result.failure === null);
    const failure = delivered.length > 0 ? null : mostSevere(results.flatMap(({ cause }) => cause ?? []));
    let isOurs: boolean;
    try {
      isOurs = await journal.close(delivered.length > 0);
    } catch (error) {
      // Without a row no replay or receipt could find the images, so the call ends as if there were none.
      await this.captureImages(call, 0);
      await this.maker.discard(generation, results);
      throw error;
    }
    if (isOurs && delivered.length === 0 && failure?.kind === 'lost') {
      const problem = new OutcomeUnknownError();
      await this.outcomes.leaveToRecovery(generation, problem.code, authorizedAtMs, results);
      throw problem;
    }
    return { results, delivered, failure, deliveredAtMs, isOurs };
  }

  /** Charges for the delivered images and releases the rest of the hold, or returns what recovery has charged. */
  private capture(call: Call, { delivered, isOurs }: Images): Promise<Charge> {
    return this.captureImages(call, isOurs ? delivered.length : 0);
  }

  /** After a provider was asked, an unavailable database does not mean that nothing will be charged, so the charge is unknown. */
  private async captureImages({ chosen, generation, caller }: Call, images: number): Promise<Charge> {
    try {
      return await chosen.funding.capture(generation, images, toActor(caller.principal));
    } catch (error) {
      throw new ChargeUnknownError(error);
    }
  }

  /** Records the outcome and returns the answer, or throws why nothing was delivered. */
  private async finish(call: Call, images: Images, charge: Charge): Promise<GenerationAnswer> {
    const { generation, run, caller, authorizedAtMs } = call;
    const { results, delivered, failure, deliveredAtMs, isOurs } = images;
    if (!isOurs || charge.imagesPaid !== delivered.length) return this.followRecovery(call, images, charge);
    const problem = delivered.length === 0 && failure !== null ? toCustomerProblem(failure) : null;
    const { chargedMicros, availableMicros } = charge;
    const errorCode = problem?.code ?? null;
    const outcome = { chargedMicros, errorCode, authorizedAtMs, deliveredAtMs, results };
    // The money is settled and the images are stored, so the outcome may be written after the answer. With an idempotency key
    // it is written first: a copy of the call that arrives after the answer has to find the outcome.
    if (generation.idempotencyKey !== null) await this.outcomes.write(generation, outcome);
    else if (problem !== null) run.writeOutcome(this.outcomes.write(generation, outcome));
    else run.writeOutcome(this.outcomes.writeAfterAnswer(generation, caller.client, outcome));
    if (problem !== null) throw problem;
    this.report(call, 'succeeded', delivered.length);
    const answered = delivered.flatMap(({ position, format, bytes, image }) =>
      format === null || bytes === null ? [] : [{ position, format, bytes, image }],
    );
    const { mode: billingMode } = call.chosen;
    return {
      body: this.bodies.make(generation, answered, sharedFormat(answered)),
      generationId: generation.id,
      billingMode,
      fellBackFrom: generation.fellBackFrom,
      chargedMicros,
      availableMicros,
      replayed: false,
    };
  }

  /**
   * Recovery took this process for dead and has settled the call. What recovery charged and recorded is final; if it charged
   * nothing, the images are not delivered.
   */
  private async followRecovery(
    call: Call,
    images: Images,
    { imagesPaid }: Charge,
  ): Promise<GenerationAnswer> {
    const { generation, authorizedAtMs } = call;
    // Without a hold only the receipt shows whether recovery delivered the images. If it did, they must not be discarded.
    const delivered = generation.holdId === null ? await this.reader.find(generation) : null;
    if (delivered?.status === 'succeeded') return this.idempotency.replay(delivered);
    if (imagesPaid === 0) {
      const { deliveredAtMs } = images;
      await this.maker.discard(generation, images.results);
      const problem = new UpstreamFailedError();
      const nothing = { chargedMicros: ZERO, authorizedAtMs, deliveredAtMs, results: [] };
      await this.outcomes.write(generation, { ...nothing, errorCode: problem.code });
      throw problem;
    }
    const stored = await this.reader.find(generation).catch((error: unknown) => {
      throw new ChargeUnknownError(error);
    });
    // The call is charged, but recovery has not recorded its images yet.
    if (stored?.status !== 'succeeded') throw new ChargeUnknownError(new Error('not recorded yet'));
    return this.idempotency.replay(stored);
  }

  /**
   * Reports the failure, and returns what the customer receives. Most calls that are refused before a provider is asked have no
   * record, so their problem names no generation.
   */
  private explain(call: Call, error: unknown): PaidCallError {
    const { generation, authorizedAtMs } = call;
    const { id, providerKeyId, fellBackFrom } = generation;
    const problem = toProblem(error);
    const isRefused = authorizedAtMs === null;
    const isChargeKnown = !(problem instanceof ChargeUnknownError || problem instanceof InternalError);
    const isPending = problem.details['outcome'] === 'pending';
    this.report(call, isRefused ? 'refused' : isPending ? 'pending' : 'failed', 0);
    return new PaidCallError(problem, {
      generationId: isRefused ? null : id,
      chargedMicros: isChargeKnown ? formatMicros(ZERO) : null,
      topUpUrl: providerKeyId === null ? topUpUrlFrom(this.settings) : null,
      providerKeyId,
      fellBackFrom,
    });
  }

  /** Returns how the call starts again after this failure. Throws the failure when it is final. */
  private startAgain(
    start: Start,
    { chosen, caller, generation, ...call }: Call,
    failure: PaidCallError,
  ): Start {
    const mayFallBack = chosen.providerKey?.fallBackToWallet === true && call.authorizedAtMs !== null;
    if (mayFallBack && FALL_BACK_CODES.includes(failure.code)) {
      return { ...start, fellBackFrom: generation.id };
    }
    if (start.number === STARTS_MAX) throw failure;
    const number = start.number + 1;
    if (failure.cause instanceof ProviderKeyAttachedError) {
      this.funding.forgetKeys(caller);
      return { ...start, number };
    }
    // The earlier attempt that this retry did not find has set its credit aside in the meantime, so it can be found now.
    if (failure.cause instanceof OtherAttemptError && isPerhapsRepeated(caller)) {
      return { ...FIRST_START, number };
    }
    throw failure;
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

function toPayer({ mode, providerKey }: ChosenFunding, generationId: string): Payer {
  if (providerKey !== null) return { providerKeyId: providerKey.id, holdId: null };
  return { providerKeyId: null, holdId: mode === 'wallet' ? toHoldId(generationId) : null };
}
