import { Inject, Injectable, Logger } from '@nestjs/common';
import { actorOf, type AccountPrincipal } from '../auth/principal.js';
import { CLOCK, type Clock } from '../common/clock.js';
import { newId } from '../common/ids.js';
import { formatMicros, ZERO } from '../common/money.js';
import { SETTINGS, type Settings } from '../config/settings.js';
import { PriceBook } from '../pricing/price-book.service.js';
import type { Price } from '../pricing/price.js';
import { InternalError } from '../problems/common.errors.js';
import { Problem } from '../problems/problem.js';
import { base64Body, urlBody, type GenerationAnswer } from './generation-answer.js';
import { GENERATION_LIMITS, type GenerationLimits } from './generation-limits.js';
import { GENERATION_OBSERVER, type GenerationObserver } from './generation-observer.js';
import { OutcomeUnknownError, PaidCallError } from './generation.errors.js';
import { Idempotency } from './idempotency.service.js';
import { ImageMaker, type ImageResult } from './image-maker.service.js';
import { fingerprintOf, type ImageRequest } from './image-request.js';
import { MediaSigner } from './media/media-signer.js';
import { holdIdOf } from './payment/hold-names.js';
import type { Payment, Settlement } from './payment/payment.js';
import { Payments } from './payment/payments.service.js';
import { GenerationReader } from './records/generation-reader.service.js';
import { GenerationRecords } from './records/generation-records.service.js';
import type { Generation } from './records/generation.js';
import { RunningGenerations } from './running-generations.service.js';
import { problemOf } from './undelivered.js';

/** Who calls, as the guard found it. */
export type Caller = {
  readonly principal: AccountPrincipal;
  readonly requestId: string;
  readonly idempotencyKey: string | null;
};

/**
 * The paid call: price, hold, provider, capture, answer. The provider is called outside any tx and with no
 * wallet locked. `README.md` in this folder shows the order of the commits and what a crash between any
 * two of them leaves behind.
 */
@Injectable()
export class ImageGeneration {
  private readonly logger = new Logger(ImageGeneration.name);
  private readonly topUpUrl: string;

  constructor(
    @Inject(SETTINGS) settings: Settings,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    @Inject(GENERATION_OBSERVER) private readonly observer: GenerationObserver,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly prices: PriceBook,
    private readonly payments: Payments,
    private readonly records: GenerationRecords,
    private readonly reader: GenerationReader,
    private readonly idempotency: Idempotency,
    private readonly maker: ImageMaker,
    private readonly running: RunningGenerations,
    private readonly signer: MediaSigner,
  ) {
    this.topUpUrl = new URL('/v1/top_ups', settings.publicUrl ?? `http://127.0.0.1:${settings.port}`).href;
  }

  /** Resolves after the charge is durable. Rejects with a `Problem` that says what was charged. */
  async generate(request: ImageRequest, caller: Caller): Promise<GenerationAnswer> {
    const price = this.prices.current(request.model.id) ?? (await this.prices.priceOf(request.model.id));
    const generation = this.begin(request, caller, price);
    return this.running.track(generation, async () => {
      try {
        const replay = await this.claim(generation);
        return replay ?? (await this.run(generation, request, caller));
      } catch (error) {
        throw this.explain(generation, error);
      }
    });
  }

  private begin(request: ImageRequest, caller: Caller, price: Price): Generation {
    const id = newId('generation');
    return {
      accountId: caller.principal.accountId,
      id,
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
      holdId: price.amountMicros === 0n ? null : holdIdOf(id),
      createdAtMs: this.clock.nowMs(),
    };
  }

  /** With an idempotency key the row comes before the hold: copies of a call must not set credit aside. */
  private async claim(generation: Generation): Promise<GenerationAnswer | null> {
    const { idempotencyKey } = generation;
    return idempotencyKey === null ? null : this.idempotency.claim({ ...generation, idempotencyKey });
  }

  private async run(
    generation: Generation,
    request: ImageRequest,
    { principal }: Caller,
  ): Promise<GenerationAnswer> {
    const payment = this.payments.of(generation, actorOf(principal));
    try {
      await payment.authorize();
    } catch (error) {
      await this.forgetRefused(generation, error);
      throw error;
    }
    const authorizedAtMs = this.clock.nowMs();
    // Without a key nobody races for the row, so it is written while the provider works: a call that dies
    // before it is there leaves a hold without a row, which recovery voids.
    const recorded = generation.idempotencyKey === null ? this.record(generation) : Promise.resolve();
    recorded.catch(() => undefined);
    const results = await this.make(generation, request, recorded);
    const ending = { authorizedAtMs, deliveredAtMs: this.clock.nowMs(), results };
    try {
      await recorded;
    } catch (error) {
      await this.settle(generation, payment, { ...ending, results: [] });
      await this.maker.discard(generation, results);
      throw error;
    }
    return this.conclude(generation, payment, ending);
  }
`;
