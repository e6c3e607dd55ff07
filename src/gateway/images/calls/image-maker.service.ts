import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { base64Length } from './base64.js';
import { AttemptDeadline } from './attempt-deadline.js';
import { GENERATION_LIMITS, type GenerationLimits } from './generation-limits.js';
import {
  GENERATION_OBSERVER,
  silentGenerationObserver,
  type GenerationObserver,
} from './generation-observer.js';
import type { ImageRequest } from './image-request.js';
import { mediaNameOf, possibleMediaNames } from '../media/media-name.js';
import { MEDIA_STORE, type MediaStore } from '../media/media-store.js';
import { verifyImage } from '../media/verify-image.js';
import type { ProviderRoute } from './model-catalog.js';
import { FALLS_THROUGH } from '../providers/fall-through.js';
import type {
  ImageProvider,
  OutputFormat,
  ProviderName,
  ProviderRequest,
  ProviderTask,
} from '../providers/image-provider.js';
import { ProviderFailure, type FailureKind } from '../providers/provider-failure.js';
import type { Generation, KnownTask, TaskRecord, TaskResult } from './records/generation.js';
import { mostSevere, isOwnQueueFull } from './delivery-failure.js';

/** How one attempt at one image turned out. */
export type ImageResult = TaskResult & {
  /** Of a delivered one, which is verified and stored, where there was room to keep it in memory for the answer; else null. */
  readonly image: Buffer | null;
  /** Null when delivered, and of an attempt after which another provider was asked: the last one speaks for its image. */
  readonly cause: ProviderFailure | null;
};

/** Finds a provider, over our account there or over the customer's. Throws `ProviderFailure` when it cannot be asked. */
export type ProviderSource = (name: ProviderName) => ImageProvider;

/** Who makes a call's images: routes of its model in order of preference, over the accounts that `source` stands for. */
export type Upstream = {
  readonly routes: readonly [ProviderRoute, ...ProviderRoute[]];
  readonly source: ProviderSource;
};

/** A route whose provider is configured and can make what was asked for, as it is asked. */
type Way = { readonly provider: ImageProvider; readonly asked: ProviderRequest };

/** The making of one call's images. */
type Making = {
  readonly generation: Generation;
  readonly ways: readonly Way[];
  readonly signal: AbortSignal;
  /** By `performance.now()`. */
  readonly deadlineAtMs: number;
  readonly onTask: (known: KnownTask) => void;
  readonly mayKeep: MayKeep;
};

/** Whether an image of so many bytes may be kept in memory until its call is answered. */
export type MayKeep = (bytes: number) => boolean;

const keepNone: MayKeep = () => false;

const FIRST_ATTEMPT = 1;

type Attempt = { readonly position: number; readonly attempt: number; readonly provider: ProviderName };

/** Has images made, and accepts only whole ones: each is verified and stored before it counts as delivered. */
@Injectable()
export class ImageMaker {
  private readonly logger = new Logger(ImageMaker.name);

  constructor(
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Optional()
    @Inject(GENERATION_OBSERVER)
    private readonly observer: GenerationObserver = silentGenerationObserver,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
  ) {}

  /**
   * All images of a call, beside each other: every attempt at each of them, in order, the last of which counts.
   * Never rejects. `onTask` hears of every task as it becomes known.
   */
  async make(
    generation: Generation,
    request: ImageRequest,
    { routes, source }: Upstream,
    signal: AbortSignal,
    onTask: (known: KnownTask) => void,
    mayKeep: MayKeep = keepNone,
  ): Promise<ImageResult[]> {
    const deadlineAtMs = performance.now() + this.limits.callDeadlineMs;
    const { ways, obstacles } = findWays(routes, source, request);
    const making = { generation, ways, signal, deadlineAtMs, onTask, mayKeep };
    const positions = Array.from({ length: generation.imagesRequested }, (_, position) => position);
    const refused = ways.length > 0 ? null : mostSevere(obstacles);
    if (refused !== null) {
      return positions.map((position) => this.refuse(generation, position, routes[0].provider, refused));
    }
    const results = await Promise.all(positions.map((position) => this.one(making, position)));
    return results.flat();
  }

  /** One image, asked of one provider after the other until one delivers, or none is worth asking. */
  private async one(making: Making, position: number): Promise<ImageResult[]> {
    const results: ImageResult[] = [];
    for (const [index, way] of making.ways.entries()) {
      const attempt = { position, attempt: FIRST_ATTEMPT + index, provider: way.provider.name };
      const result = await this.tryWay(making, attempt, way, making.ways.length - index);
      const next = making.ways[index + 1];
      const failure = next === undefined || making.signal.aborted ? null : reasonToGoOn(result);
      if (next === undefined || failure === null) return [...results, result];
      this.observer.fellThrough({ from: attempt.provider, to: next.provider.name, failure });
      results.push({ ...result, cause: null });
    }
    return results;
  }

  /** @param waysLeft this one included; each may take the same share of the time that is left. */
  private async tryWay(
    { generation, signal, deadlineAtMs, onTask, mayKeep }: Making,
    attempt: Attempt,
    { provider, asked }: Way,
    waysLeft: number,
  ): Promise<ImageResult> {
    const isLast = waysLeft === 1;
    const shareMs = Math.max((deadlineAtMs - performance.now()) / waysLeft, 0);
    // The last one has all that is left of the call's time.
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
          onTask({ ...attempt, task: known });
        },
      });
    try {
      return await this.attempt(generation, attempt, () => task, generate, mayKeep);
    } finally {
      deadline?.end();
    }
  }

  /** An image whose task a process left behind: what it stored already, or else what the provider has. Never rejects. */
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
      await this.media.remove(mediaNameOf(generation, { position, format })).catch(() => undefined);
    }
  }

  /** No provider was asked: none can make it, or none is there. */
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
    taskOf: () => ProviderTask | null,
    work: () => Promise<Buffer>,
    mayKeep: MayKeep = keepNone,
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
      // What the provider keeps for a while can be fetched again after a power failure (see `MediaRestorationJob`).
      const isOnlyCopy = (taskOf()?.pollingUrl ?? null) === null;
      const format = await this.accept(generation, attempt.position, image, isOnlyCopy);
      report('delivered');
      const ended = { task: taskOf(), finishedAtMs: this.clock.nowMs() };
      const kept = mayKeep(base64Length(image)) ? image : null;
      return { ...attempt, ...ended, bytes: image.length, format, failure: null, image: kept, cause: null };
    } catch (error) {
      const cause = toFailure(error);
      report(cause.kind);
      this.log(generation, attempt, taskOf()?.taskId ?? null, cause);
      const ended = { task: taskOf(), finishedAtMs: this.clock.nowMs() };
      return { ...attempt, ...ended, ...NOT_DELIVERED, failure: cause.kind, cause };
    }
  }

  /** Answers the format of the image, which is stored by then. Throws unless it is whole. */
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
    await this.media.write(mediaNameOf(generation, { position, format }), image, isOnlyCopy);
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
    if (cause.kind === 'account') this.logger.error(fields, 'The upstream account is refused');
    else if (CUSTOMERS_TROUBLE.has(cause.kind) || isOwnQueueFull(cause))
      this.logger.debug(fields, 'No image');
    else this.logger.warn(fields, 'An image was not delivered');
  }
}

const NOT_DELIVERED = { bytes: null, format: null, image: null } as const;

/** Nothing for an operator to look at. */
const CUSTOMERS_TROUBLE: ReadonlySet<FailureKind> = new Set([
  'moderated',
  'rejected',
  'key_rejected',
  'key_unfunded',
]);

/** A full disk or a fault of ours ends one image, not the whole call; the log has it with its cause. */
function toFailure(error: unknown): ProviderFailure {
  return error instanceof ProviderFailure ? error : new OurFault(error);
}

/** Another provider's image would fare no better, and would cost us a second one. */
class OurFault extends ProviderFailure {
  constructor(cause: unknown) {
    super('failed', 'the image could not be kept', { cause });
  }
}

/** Why the next provider is to be asked; null when it is not. */
function reasonToGoOn({ cause }: ImageResult): FailureKind | null {
  return cause === null || cause instanceof OurFault || !FALLS_THROUGH[cause.kind] ? null : cause.kind;
}

/** A provider that is not configured, or can never make this image, is passed over: it has failed at nothing. */
function findWays(
  routes: Upstream['routes'],
  source: ProviderSource,
  request: ImageRequest,
): { readonly ways: readonly Way[]; readonly obstacles: readonly ProviderFailure[] } {
  const ways: Way[] = [];
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
      if (obstacle === null) ways.push({ provider, asked });
      else obstacles.push(new ProviderFailure('rejected', obstacle));
    } catch (error) {
      obstacles.push(toFailure(error));
    }
  }
  return { ways, obstacles };
}
