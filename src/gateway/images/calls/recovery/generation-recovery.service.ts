import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import type { Clock } from '../../../../platform/common/clock.js';
import { DatabaseClock } from '../../../../platform/database/database-clock.js';
import { LEDGER_CLOCK } from '../../../../platform/database/ledger-clock.js';
import { OPEN_STATUSES } from '../generation.machine.js';
import { GENERATION_LIMITS, type GenerationLimits } from '../generation-limits.js';
import {
  GENERATION_OBSERVER,
  silentGenerationObserver,
  type GenerationObserver,
} from '../generation-observer.js';
import { ImageMaker, type ImageResult } from '../image-maker.service.js';
import { ImageModels, type ImageModel } from '../model-catalog.js';
import { freePayment } from '../payment/free-payment.js';
import type { Payment, Settlement } from '../payment/payment.js';
import { Payments } from '../payment/payments.service.js';
import { GenerationReader } from '../records/generation-reader.service.js';
import { GenerationRecords } from '../records/generation-records.service.js';
import type { GenerationKey, StoredGeneration, TaskRecord, TaskResult } from '../records/generation.js';
import { Upstreams } from '../upstreams.service.js';
import { mostSevere, problemOf } from '../delivery-failure.js';
import { agreeWithHold } from './agree-with-hold.js';

/** Recovered beside each other; more would take the providers' slots away from live calls. */
const BATCH_MAX = 8;
/** Longer than a look, so that no second process starts one meanwhile. */
const CLAIM_MS = 90_000;
/** A task that is still in the making is looked at again after this. */
const NEXT_LOOK_MS = 5_000;

type Found = {
  /** One a position. */
  readonly results: readonly ImageResult[];
  /** Attempts after which another provider was asked. */
  readonly superseded: readonly TaskResult[];
};

/**
 * Ends the generations that their own process did not: it died, or it answered before the provider did.
 * Whatever is settled already is found in the hold, whatever was delivered already is found in the store,
 * and the rest is asked of the provider; so it may run any number of times, in any process.
 */
@Injectable()
export class GenerationRecovery {
  private readonly logger = new Logger(GenerationRecovery.name);

  constructor(
    private readonly records: GenerationRecords,
    private readonly reader: GenerationReader,
    private readonly maker: ImageMaker,
    private readonly upstreams: Upstreams,
    private readonly payments: Payments,
    private readonly models: ImageModels,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    @Optional()
    @Inject(GENERATION_OBSERVER)
    private readonly observer: GenerationObserver = silentGenerationObserver,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly databaseClock: DatabaseClock,
  ) {}

  /** Looks once at every generation that is due. Answers how many it ended. Throws when the database is away. */
  async recoverDue(): Promise<number> {
    let ended = 0;
    for (;;) {
      // A process whose own clock is ahead must not take calls over that run elsewhere.
      const due = await this.records.claimDue(await this.databaseClock.nowMs(), CLAIM_MS, BATCH_MAX);
      const outcomes = await Promise.all(due.map((key) => this.recover(key)));
      ended += outcomes.filter(Boolean).length;
      if (due.length < BATCH_MAX) return ended;
    }
  }

  /** Whether it is over now. Never rejects: one generation's trouble must not keep the others waiting. */
  private async recover(key: GenerationKey): Promise<boolean> {
    try {
      const generation = await this.reader.find(key);
      return generation !== null && OPEN_STATUSES.includes(generation.status) && (await this.end(generation));
    } catch (error) {
      this.logger.warn(
        { generation: key.id, err: error },
        'A generation was not recovered; it is tried again',
      );
      return false;
    }
  }

  private async end(generation: StoredGeneration): Promise<boolean> {
    const tasks = await this.reader.tasksOf(generation);
    const results = await this.resume(generation, tasks);
    const nowMs = this.clock.nowMs();
    const failure = mostSevere(results.flatMap((result) => result.cause ?? []));
    const isGivenUp = nowMs - generation.createdAtMs >= this.limits.giveUpAfterMs;
    if (failure?.kind === 'lost' && !isGivenUp) {
      await this.records.postpone(generation, nowMs + NEXT_LOOK_MS);
      return false;
    }
    const delivered = results.filter((result) => result.failure === null).length;
    const settlement = await this.paymentOf(generation).settle(delivered);
    if (!settlement.holdFound && nowMs - generation.createdAtMs < this.limits.orphanedAfterMs) {
      // Its process may be alive after all, and about to make the hold.
      await this.records.postpone(generation, nowMs + NEXT_LOOK_MS);
      return false;
    }
    await this.write(generation, { results, superseded: supersededOf(tasks, nowMs) }, settlement, nowMs);
    return true;
  }

  /** A call over a customer's own key has none that knows a wallet: `Payments` does not take it. */
  private paymentOf(generation: StoredGeneration): Payment {
    return generation.providerKeyId === null ? this.payments.of(generation, 'system') : freePayment;
  }

  private async write(
    generation: StoredGeneration,
    { results, superseded }: Found,
    { imagesPaid, chargedMicros }: Settlement,
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
      this.logger.error({ generation: generation.id, imagesPaid, delivered }, 'Charged images are missing');
    }
    const errorCode = imagesPaid > 0 ? null : failure === null ? 'upstream_failed' : problemOf(failure).code;
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

  /** One result a position: its last attempt's, or that of an attempt whose task was never written down. */
  private async resume(generation: StoredGeneration, tasks: readonly TaskRecord[]): Promise<ImageResult[]> {
    const source = await this.upstreams.ofBegun(generation);
    const model = (await this.models.current()).find(generation.model);
    const signal = AbortSignal.timeout(this.limits.recoveryLookMs);
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
    this.logger.log({ generation: generation.id, outcome, imagesDelivered }, 'Recovered a generation');
    this.observer.finished({
      model: generation.model,
      outcome,
      imagesDelivered,
      durationMs,
      recovered: true,
    });
  }
}

/** Stands for an attempt of which no row was written before its process died. */
function unnamedTask(model: ImageModel | null, position: number): TaskRecord {
  const provider = model?.routes[0].provider ?? 'black_forest_labs';
  return { position, attempt: 1, provider, task: null, status: 'pending' };
}

/**
 * Attempts that their process knew to have failed, and asked another provider after, but did not live to write down.
 * A task that was named ends in no other way that leads on (`FALLS_THROUGH`).
 */
function supersededOf(tasks: readonly TaskRecord[], finishedAtMs: number): TaskResult[] {
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
