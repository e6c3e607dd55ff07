import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { CLOCK, type Clock } from '../common/clock.js';
import {
  GENERATION_OBSERVER,
  silentGenerationObserver,
  type GenerationObserver,
} from './generation-observer.js';
import type { ImageRequest } from './image-request.js';
import { mediaNameOf } from './media/media-name.js';
import { MEDIA_STORE, type MediaStore } from './media/media-store.js';
import { findFault } from './media/verify-image.js';
import type { ProviderRoute } from './model-catalog.js';
import type { ImageProvider, ProviderName, ProviderTask } from './providers/image-provider.js';
import { ProviderFailure, type FailureKind } from './providers/provider-failure.js';
import type { Generation, KnownTask, TaskRecord, TaskResult } from './records/generation.js';

/** How one image turned out. */
export type ImageResult = TaskResult & {
  /** The verified, stored image; null unless delivered. */
  readonly image: Buffer | null;
  readonly cause: ProviderFailure | null;
};

/** Finds a provider, over our account there or over the customer's. Throws `ProviderFailure` when it cannot be asked. */
export type ProviderSource = (name: ProviderName) => ImageProvider;

/** Who makes a call's images: a route of its model, over the account that `source` stands for. */
export type Upstream = { readonly route: ProviderRoute; readonly source: ProviderSource };

/** Images go to one provider so far, so there is one attempt each. */
const FIRST_ATTEMPT = 1;

type Attempt = { readonly position: number; readonly attempt: number; readonly provider: ProviderName };

/** Has images made, and accepts only whole ones: each is decoded and stored before it counts as delivered. */
@Injectable()
export class ImageMaker {
  private readonly logger = new Logger(ImageMaker.name);

  constructor(
    @Inject(MEDIA_STORE) private readonly media: MediaStore,
    @Optional()
    @Inject(GENERATION_OBSERVER)
    private readonly observer: GenerationObserver = silentGenerationObserver,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /** All images of a call, beside each other. Never rejects. `onTask` hears of every task as it becomes known. */
  make(
    generation: Generation,
    request: ImageRequest,
    { route, source }: Upstream,
    signal: AbortSignal,
    onTask: (known: KnownTask) => void,
  ): Promise<ImageResult[]> {
    const asked = {
      upstreamModel: route.upstreamModel,
      prompt: request.prompt,
      ...request.size,
      outputFormat: request.outputFormat,
      moderation: request.moderation,
      references: request.references,
    };
    const one = (position: number): Promise<ImageResult> => {
      const attempt = { position, attempt: FIRST_ATTEMPT, provider: route.provider };
      let task: ProviderTask | null = null;
      const generate = async () =>
        source(route.provider).generate(asked, {
          signal,
          onTask: (known) => {
            task = known;
            onTask({ ...attempt, task: known });
          },
        });
      return this.attempt(generation, attempt, () => task, generate);
    };
    return Promise.all(Array.from({ length: generation.imagesRequested }, (_, position) => one(position)));
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
    for (const { position, image } of results) {
      if (image !== null) await this.media.remove(mediaNameOf(generation, position)).catch(() => undefined);
    }
  }

  private async attempt(
    generation: Generation,
    attempt: Attempt,
    taskOf: () => ProviderTask | null,
    work: () => Promise<Buffer>,
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
      await this.accept(generation, attempt.position, image);
      report('delivered');
      const ended = { task: taskOf(), finishedAtMs: this.clock.nowMs() };
      return { ...attempt, ...ended, bytes: image.length, failure: null, image, cause: null };
    } catch (error) {
      const cause = toFailure(error);
      report(cause.kind);
      this.log(generation, attempt, taskOf()?.taskId ?? null, cause);
      const ended = { task: taskOf(), finishedAtMs: this.clock.nowMs() };
      return { ...attempt, ...ended, bytes: null, failure: cause.kind, image: null, cause };
    }
  }

  /** Decodes and stores, beside each other. Throws unless the image is whole and kept. */
  private async accept(generation: Generation, position: number, image: Buffer): Promise<void> {
    const name = mediaNameOf(generation, position);
    const { width, height, outputFormat: format } = generation;
    const [fault] = await Promise.all([
      findFault(image, { format, width, height }),
      this.media.write(name, image),
    ]);
    if (fault === null) return;
    await this.media.remove(name).catch(() => undefined);
    throw new ProviderFailure('failed', `the delivered image is unusable: ${fault}`);
  }

  private async findStored(generation: Generation, position: number): Promise<Buffer | null> {
    const { width, height, outputFormat: format } = generation;
    const stored = await this.media.read(mediaNameOf(generation, position)).catch(() => null);
    return stored !== null && (await findFault(stored, { format, width, height })) === null ? stored : null;
  }

  private log(
    { id }: Generation,
    { position, provider }: Attempt,
    task: string | null,
    cause: ProviderFailure,
  ): void {
    const fields = { generation: id, position, provider, task, failure: cause.kind, err: cause };
    if (cause.kind === 'account') this.logger.error(fields, 'The upstream account is refused');
    else if (CUSTOMERS_TROUBLE.has(cause.kind)) this.logger.debug(fields, 'No image');
    else this.logger.warn(fields, 'An image was not delivered');
  }
}

/** Nothing for an operator to look at. */
const CUSTOMERS_TROUBLE: ReadonlySet<FailureKind> = new Set([
  'moderated',
  'rejected',
  'key_rejected',
  'key_unfunded',
]);

/** A full disk or a fault of ours ends one image, not the whole call; the log has it with its cause. */
function toFailure(error: unknown): ProviderFailure {
  return error instanceof ProviderFailure
    ? error
    : new ProviderFailure('failed', 'the image could not be kept', { cause: error });
}
