import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import type { Clock } from '../../../../platform/common/clock.js';
import { DatabaseClock, LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { OPEN_STATUSES } from '../generation.machine.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../generation-limits.js';
import {
  GENERATION_OBSERVER,
  silentGenerationObserver,
  type GenerationObserver,
} from '../generation-observer.js';
import { ImageMakerService, type ImageResult } from '../image-maker.service.js';
import { ModelCatalogService } from '../../../catalog/model-catalog.service.js';
import { getImageModels, type ImageModel } from '../image-request.js';
import type { Charge } from '../funding/funding.js';
import { FundingService } from '../funding/funding.service.js';
import { GenerationReaderService } from '../records/generation-reader.service.js';
import { GenerationRecordsService } from '../records/generation-records.service.js';
import type { GenerationKey, StoredGeneration, TaskRecord, TaskResult } from '../records/generation.js';
import { Upstreams } from '../../providers/configured-providers.js';
import { mostSevere, toCustomerProblem } from '../generation.errors.js';
import { agreeWithHold } from './agree-with-hold.js';

/** How many are recovered concurrently; more would take the providers' slots away from live calls. */
const BATCH_MAX = 8;
/** Longer than one check takes, so that no second process checks the same call concurrently. */
const CLAIM_MS = 90_000;
/** A task that its provider has not finished is checked again after this. */
const NEXT_CHECK_MS = 5_000;

type Found = {
  /** One result for each position. */
  readonly results: readonly ImageResult[];
  /** Earlier attempts, after which another provider was asked. */
  readonly superseded: readonly TaskResult[];
};

/**
 * Ends generations that their own process did not end, because it died or answered before the provider did. The hold shows what
 * is settled already, the store shows what was delivered already, and the provider is asked for the rest; so this may run any
 * number of times, in any process.
 */
@Injectable()
export class GenerationRecoveryService {
  private readonly logger = new Logger(GenerationRecoveryService.name);

  constructor(
    private readonly records: GenerationRecordsService,
    private readonly reader: GenerationReaderService,
    private readonly maker: ImageMakerService,
    private readonly upstreams: Upstreams,
    private readonly funding: FundingService,
    private readonly catalog: ModelCatalogService,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    @Optional()
    @Inject(GENERATION_OBSERVER)
    private readonly observer: GenerationObserver = silentGenerationObserver,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly databaseClock: DatabaseClock,
  ) {}

  /** Checks every due generation once, and returns how many it ended. Throws when the database is unavailable. */
  async recoverDue(): Promise<number> {
    let ended = 0;
    for (;;) {
      // The database's clock decides: a process whose own clock is ahead must not take over calls that are running elsewhere.
      const due = await this.records.claimDue(await this.databaseClock.nowMs(), CLAIM_MS, BATCH_MAX);
      const outcomes = await Promise.all(due.map((key) => this.recover(key)));
      ended += outcomes.filter(Boolean).length;
      if (due.length < BATCH_MAX) return ended;
    }
  }

  /** Returns whether the generation has ended. Never rejects, so that a failure of one generation does not delay the others. */
  private async recover(key: GenerationKey): Promise<boolean> {
    try {
      const generation = await this.reader.find(key);
      return generation !== null && OPEN_STATUSES.includes(generation.status) && (await this.end(generation));
    } catch (error) {
      this.logger.warn(
        { event: 'generation.recovery_failed', generation: key.id, err: error },
        'A generation could not be recovered; this is tried again',
      );
      return false;
    }
  }

  private async end(generation: StoredGeneration): Promise<boolean> {
    const tasks = await this.reader.findTasks(generation);
    const results = await this.resume(generation, tasks);
    const nowMs = this.clock.nowMs();
    const failure = mostSevere(results.flatMap((result) => result.cause ?? []));
    const isGivenUp = nowMs - generation.createdAtMs >= this.limits.giveUpAfterMs;
    if (failure?.kind === 'lost' && !isGivenUp) {
      await this.records.postpone(generation, nowMs + NEXT_CHECK_MS);
      return false;
    }
    const delivered = results.filter((result) => result.failure === null).length;
    const charge = await this.funding.forStartedCall(generation).capture(generation, delivered, 'system');
    if (!charge.holdFound && nowMs - generation.createdAtMs < this.limits.orphanedAfterMs) {
      // The process of the call may still be alive and about to make the hold.
      await this.records.postpone(generation, nowMs + NEXT_CHECK_MS);
      return false;
    }
    await this.write(generation, { results, superseded: findSuperseded(tasks, nowMs) }, charge, nowMs);
    return true;
  }

  private async write(
    generation: StoredGeneration,
    { results, superseded }: Found,
    { imagesPaid, chargedMicros }: Charge,
    deliveredAtMs: number,
  ): Promise<void> {
    const delivered = results.filter((result) => result.failure === null).length;
    const failure = mostSevere(results.flatMap((result) => result.cause ?? []));
    const agreed = agreeWithHold(results, imagesPaid);
    await this.maker.discard(
      generation,
      results.filter((result, index) => result.failure === null && agreed[index]?.failure !== null),
    );
    if (imagesPaid > delivered) {
      this.logger.error(
        { event: 'generation.paid_images_missing', generation: generation.id, imagesPaid, delivered },
        'Images that were charged are missing; check the image store and refund the customer',
      );
    }
    const errorCode =
      imagesPaid > 0 ? null : failure === null ? 'upstream_failed' : toCustomerProblem(failure).code;
    await this.records.finish(generation, {
      chargedMicros,
      errorCode,
      authorizedAtMs: generation.authorizedAtMs,
      deliveredAtMs,
      finishedAtMs: this.clock.nowMs(),
      results: [...superseded, ...agreed],
    });
    this.report(generation, imagesPaid);
  }

  /** Returns one result for each position: that of its last attempt, or of an attempt whose task was never recorded. */
  private async resume(generation: StoredGeneration, tasks: readonly TaskRecord[]): Promise<ImageResult[]> {
    const source = await this.upstreams.forStartedCall(generation);
    const model = getImageModels(await this.catalog.current()).find(generation.model);
    const signal = AbortSignal.timeout(this.limits.recoveryCheckMs);
    return Promise.all(
      Array.from({ length: generation.imagesRequested }, (_, position) => {
        const last = tasks.filter((task) => task.position === position).at(-1);
        return this.maker.resume(generation, last ?? unnamedTask(model, position), source, signal);
      }),
    );
  }

  private report(generation: StoredGeneration, imagesDelivered: number): void {
    const durationMs = this.clock.nowMs() - generation.createdAtMs;
    const outcome = imagesDelivered > 0 ? 'succeeded' : 'failed';
    this.logger.log(
      { event: 'generation.recovered', generation: generation.id, outcome, imagesDelivered },
      'A generation was recovered',
    );
    this.observer.finished({
      model: generation.model,
      outcome,
      imagesDelivered,
      durationMs,
      recovered: true,
    });
  }
}

/** Represents an attempt whose process died before its task was recorded. */
function unnamedTask(model: ImageModel | null, position: number): TaskRecord {
  const provider = model?.routes[0].provider ?? 'black_forest_labs';
  return { position, attempt: 1, provider, task: null, status: 'pending' };
}

/**
 * Returns attempts that failed, after which their process asked another provider but died before it could record the failure.
 * For an attempt with a known task, `failed` is the only outcome after which another provider is asked (`FALLS_THROUGH`).
 */
function findSuperseded(tasks: readonly TaskRecord[], finishedAtMs: number): TaskResult[] {
  const isLast = ({ position, attempt }: TaskRecord): boolean =>
    !tasks.some((other) => other.position === position && other.attempt > attempt);
  return tasks
    .filter((task) => task.status === 'pending' && !isLast(task))
    .map(({ position, attempt, provider, task }) => ({
      ...{ position, attempt, provider, task, finishedAtMs },
      bytes: null,
      format: null,
      failure: 'failed',
    }));
}
