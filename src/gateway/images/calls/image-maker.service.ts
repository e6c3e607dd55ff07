import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { toMediaName, possibleMediaNames, MEDIA_STORE, type MediaStore } from '../media/media-store.js';
import { verifyImage } from '../media/verify-image.js';
import { FALLS_THROUGH, ProviderFailure, type FailureKind } from '../providers/provider-failure.js';
import type {
  ImageProvider,
  OutputFormat,
  ProviderName,
  ProviderRequest,
  ProviderTask,
} from '../providers/image-provider.js';
import { base64Length } from './base64.js';
import { GENERATION_LIMITS, type GenerationLimits } from './generation-limits.js';
import {
  GENERATION_OBSERVER,
  silentGenerationObserver,
  type GenerationObserver,
} from './generation-observer.js';
import type { ImageRequest, ProviderRoute } from './image-request.js';
import type { Generation, TaskRecord, TaskResult } from './records/generation.js';
import type { AnswerReservation } from './answer-memory.js';
import type { GenerationJournal } from './records/generation-records.service.js';
import { mostSevere, isOwnQueueFull } from './generation.errors.js';

/** The result of one attempt at one image. */
export type ImageResult = TaskResult & {
  /** The delivered image if there was memory to keep it for the answer; otherwise null, and the image is only in the store. */
  readonly image: Buffer | null;
  /** Null when the image was delivered or another provider was asked afterwards: the last attempt decides about its image. */
  readonly cause: ProviderFailure | null;
};

/** Returns a provider with our own account or with the customer's. Throws `ProviderFailure` when it cannot be asked. */
export type ProviderSource = (name: ProviderName) => ImageProvider;

/** The providers of a call's images: the routes of its model in order of preference, with the accounts that `source` uses. */
export type Upstream = {
  readonly routes: readonly [ProviderRoute, ...ProviderRoute[]];
  readonly source: ProviderSource;
};

/** A route whose provider is configured and can make the image, with the request that is sent to it. */
type UsableRoute = { readonly provider: ImageProvider; readonly asked: ProviderRequest };

/** What all images of one call share while they are made. */
type Making = {
  readonly generation: Generation;
  readonly usableRoutes: readonly UsableRoute[];
  readonly signal: AbortSignal;
  /** By `performance.now()`. */
  readonly deadlineAtMs: number;
  /** Receives every task as soon as it is known. */
  readonly journal: Pick<GenerationJournal, 'add'>;
  /** The memory in which images are kept until their call is answered; null when they are only stored. */
  readonly memory: Pick<AnswerReservation, 'tryKeep'> | null;
};

const FIRST_ATTEMPT = 1;

type Attempt = { readonly position: number; readonly attempt: number; readonly provider: ProviderName };

/** Asks providers for images, and accepts only complete ones: each is verified and stored before it counts as delivered. */
@Injectable()
export class ImageMakerService {
  private readonly logger = new Logger(ImageMakerService.name);

  constructor(
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Optional()
    @Inject(GENERATION_OBSERVER)
    private readonly observer: GenerationObserver = silentGenerationObserver,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
  ) {}

  /**
   * Makes all images of a call concurrently. Returns every attempt at each of them in order; the last attempt at an image is its
   * result. Never rejects.
   */
  async make(
    generation: Generation,
    request: ImageRequest,
    { routes, source }: Upstream,
    { signal, journal, memory }: Pick<Making, 'signal' | 'journal' | 'memory'>,
  ): Promise<ImageResult[]> {
    const deadlineAtMs = performance.now() + this.limits.callDeadlineMs;
    const { usableRoutes, obstacles } = findUsableRoutes(routes, source, request);
    const making = { generation, usableRoutes, signal, deadlineAtMs, journal, memory };
    const positions = Array.from({ length: generation.imagesRequested }, (_, position) => position);
    const refused = usableRoutes.length > 0 ? null : mostSevere(obstacles);
    if (refused !== null) {
      return positions.map((position) => this.refuse(generation, position, routes[0].provider, refused));
    }
    const results = await Promise.all(positions.map((position) => this.makeImage(making, position)));
    return results.flat();
  }

  /** Makes one image: asks one provider after the other until one delivers or no other one would help. */
  private async makeImage(making: Making, position: number): Promise<ImageResult[]> {
    const results: ImageResult[] = [];
    for (const [index, route] of making.usableRoutes.entries()) {
      const attempt = { position, attempt: FIRST_ATTEMPT + index, provider: route.provider.name };
      const result = await this.tryRoute(making, attempt, route, making.usableRoutes.length - index);
      const next = making.usableRoutes[index + 1];
      const failure = next === undefined || making.signal.aborted ? null : reasonForNextRoute(result);
      if (next === undefined || failure === null) return [...results, result];
      this.observer.fellThrough({ from: attempt.provider, to: next.provider.name, failure });
      results.push({ ...result, cause: null });
    }
    return results;
  }

  /** @param routesLeft the number of routes that are left, including this one. Each may use the same share of the remaining time. */
  private async tryRoute(
    { generation, signal, deadlineAtMs, journal, memory }: Making,
    attempt: Attempt,
    { provider, asked }: UsableRoute,
    routesLeft: number,
  ): Promise<ImageResult> {
    const isLast = routesLeft === 1;
    const shareMs = Math.max((deadlineAtMs - performance.now()) / routesLeft, 0);
    // The last route may use all of the call's remaining time.
    const deadline = isLast ? null : new AttemptDeadline(signal, shareMs);
    let task: ProviderTask | null = null;
    const generate = () =>
      provider.generate(asked, {
        slotRequest: { owner: generation.accountId, call: generation.id },
        signal: deadline?.signal ?? signal,
        saturationWaitMaxMs: isLast ? this.limits.saturationWaitMs : this.limits.fallThroughWaitMs,
        onTask: (known) => {
          task = known;
          deadline?.extend();
          journal.add({ ...attempt, task: known });
        },
      });
    try {
      return await this.attempt(generation, attempt, () => task, generate, memory);
    } finally {
      deadline?.end();
    }
  }

  /** Completes an image whose process died: takes the file that it stored, or else asks the provider. Never rejects. */
  async resume(
    generation: Generation,
    record: TaskRecord,
    source: ProviderSource,
    signal: AbortSignal,
  ): Promise<ImageResult> {
    const { position, attempt, provider, task } = record;
    const stored = await this.findStored(generation, position);
    const work = async () => {
      if (stored !== null) return stored;
      if (task !== null) return source(provider).resume(task, signal);
      throw new ProviderFailure('failed', 'the provider never named a task');
    };
    return this.attempt(generation, { position, attempt, provider }, () => task, work);
  }

  async discard(generation: Generation, results: readonly ImageResult[]): Promise<void> {
    for (const { position, format } of results) {
      if (format === null) continue;
      await this.media.remove(toMediaName(generation, { position, format })).catch(() => undefined);
    }
  }

  /** The result for an image for which no provider could be asked. */
  private refuse(
    generation: Generation,
    position: number,
    provider: ProviderName,
    cause: ProviderFailure,
  ): ImageResult {
    const attempt = { position, attempt: FIRST_ATTEMPT, provider };
    this.log(generation, attempt, null, cause);
    const ended = { task: null, finishedAtMs: this.clock.nowMs() };
    return { ...attempt, ...ended, ...NOT_DELIVERED, failure: cause.kind, cause };
  }

  private async attempt(
    generation: Generation,
    attempt: Attempt,
    getTask: () => ProviderTask | null,
    work: () => Promise<Buffer>,
    memory: Making['memory'] = null,
  ): Promise<ImageResult> {
    const startedAtMs = performance.now();
    const report = (outcome: 'delivered' | ProviderFailure['kind']) =>
      this.observer.attempted({
        provider: attempt.provider,
        outcome,
        durationMs: performance.now() - startedAtMs,
      });
    try {
      const image = await work();
      // A result that the provider keeps for a while can be fetched again after a power failure (see `MediaRestorationJob`).
      const isOnlyCopy = (getTask()?.pollingUrl ?? null) === null;
      const format = await this.accept(generation, attempt.position, image, isOnlyCopy);
      report('delivered');
      const ended = { task: getTask(), finishedAtMs: this.clock.nowMs() };
      const kept = memory?.tryKeep(base64Length(image)) === true ? image : null;
      return { ...attempt, ...ended, bytes: image.length, format, failure: null, image: kept, cause: null };
    } catch (error) {
      const cause = toFailure(error);
      report(cause.kind);
      this.log(generation, attempt, getTask()?.taskId ?? null, cause);
      const ended = { task: getTask(), finishedAtMs: this.clock.nowMs() };
      return { ...attempt, ...ended, ...NOT_DELIVERED, failure: cause.kind, cause };
    }
  }

  /** Verifies and stores the image, and returns its format. Throws `ProviderFailure` when the image is not complete. */
  private async accept(
    generation: Generation,
    position: number,
    image: Buffer,
    isOnlyCopy: boolean,
  ): Promise<OutputFormat> {
    const { width, height, outputFormat } = generation;
    const found = verifyImage(image, { format: outputFormat, width, height });
    if (found.fault !== null) {
      throw new ProviderFailure('failed', `the delivered image is unusable: ${found.fault}`);
    }
    const { format } = found;
    await this.media.write(toMediaName(generation, { position, format }), image, isOnlyCopy);
    return format;
  }

  private async findStored(generation: Generation, position: number): Promise<Buffer | null> {
    const { width, height } = generation;
    for (const name of possibleMediaNames(generation, position)) {
      const stored = await this.media.read(name).catch(() => null);
      const isWhole = stored !== null && verifyImage(stored, { ...name, width, height }).fault === null;
      if (isWhole) return stored;
    }
    return null;
  }

  private log(
    { id }: Generation,
    { position, provider }: Attempt,
    task: string | null,
    cause: ProviderFailure,
  ): void {
    const fields = { generation: id, position, provider, task, failure: cause.kind, err: cause };
    if (cause.kind === 'account') {
      const event = 'provider.account_refused';
      this.logger.error({ event, ...fields }, 'A provider refuses our account; check its key and its credit');
    } else if (CUSTOMER_FAULTS.has(cause.kind) || isOwnQueueFull(cause)) {
      this.logger.debug({ event: 'image.refused', ...fields }, 'An image was refused');
    } else {
      this.logger.warn({ event: 'image.not_delivered', ...fields }, 'An image was not delivered');
    }
  }
}

const NOT_DELIVERED = { bytes: null, format: null, image: null } as const;

/** Failures that only the customer can solve, so no operator has to check them. */
const CUSTOMER_FAULTS: ReadonlySet<FailureKind> = new Set([
  'moderated',
  'rejected',
  'key_rejected',
  'key_unfunded',
]);

/** A full disk or a bug of ours ends one image and not the whole call. The cause is logged. */
function toFailure(error: unknown): ProviderFailure {
  return error instanceof ProviderFailure ? error : new OurFault(error);
}

/** The image was made but could not be stored. Another provider is not asked: its image would fail as well, and cost us a second time. */
class OurFault extends ProviderFailure {
  constructor(cause: unknown) {
    super('failed', 'the image could not be kept', { cause });
  }
}

/** Returns why the next provider should be asked; null when it should not. */
function reasonForNextRoute({ cause }: ImageResult): FailureKind | null {
  return cause === null || cause instanceof OurFault || !FALLS_THROUGH[cause.kind] ? null : cause.kind;
}

/** Leaves out providers that are not configured or can never make this image. They are not counted as failed attempts. */

function findUsableRoutes(
  routes: Upstream['routes'],
  source: ProviderSource,
  request: ImageRequest,
): { readonly usableRoutes: readonly UsableRoute[]; readonly obstacles: readonly ProviderFailure[] } {
  const usableRoutes: UsableRoute[] = [];
  const obstacles: ProviderFailure[] = [];
  for (const { provider: name, upstreamModel, costMicros } of routes) {
    const asked = {
      upstreamModel,
      prompt: request.prompt,
      ...request.size,
      outputFormat: request.outputFormat,
      moderation: request.moderation,
      references: request.references,
      costMicros,
    };
    try {
      const provider = source(name);
      const obstacle = provider.findObstacle(asked);
      if (obstacle === null) usableRoutes.push({ provider, asked });
      else obstacles.push(new ProviderFailure('rejected', obstacle));
    } catch (error) {
      obstacles.push(toFailure(error));
    }
  }
  return { usableRoutes, obstacles };
}

/**
 * Limits one attempt to a share of the time that its call has left, so that a provider that hangs leaves time for the next one.
 * Once the provider has named the task, the limit is lifted: a time-out would then only make the outcome unknown, and no other
 * provider is asked after an unknown outcome.
 */
export class AttemptDeadline {
  private readonly controller = new AbortController();
  private readonly timer: NodeJS.Timeout;

  constructor(
    private readonly call: AbortSignal,
    shareMs: number,
  ) {
    this.timer = setTimeout(this.abort, shareMs);
    if (call.aborted) this.abort();
    else call.addEventListener('abort', this.abort);
  }

  get signal(): AbortSignal {
    return this.controller.signal;
  }

  extend(): void {
    clearTimeout(this.timer);
  }

  /** Clears the timer and removes the listener from the call's signal. */
  end(): void {
    this.extend();
    this.call.removeEventListener('abort', this.abort);
  }

  private readonly abort = (): void => this.controller.abort();
}
