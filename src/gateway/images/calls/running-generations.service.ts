import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable, Logger, type BeforeApplicationShutdown } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { acceptsFormat } from './image-request.js';
import { GENERATION_LIMITS, type GenerationLimits } from './generation-limits.js';
import type { Generation, Ending, GenerationKey, TaskResult } from './records/generation.js';
import { GenerationRecordsService } from './records/generation-records.service.js';
import { RetryClaimsService } from './retries/retry-claims.service.js';
import type { RetryingClient } from './caller.js';

type SameCall = Pick<Generation, 'accountId' | 'apiKeyId' | 'fingerprint' | 'outputFormat'>;

/** A call that this process is working on. */
export type Run = {
  /** Resolves when the call has ended. */
  readonly over: Promise<void>;
  /** The call is answered, and its outcome is written concurrently. It counts as running until `written` resolves; it must not reject. */
  readonly writeOutcome: (written: Promise<void>) => void;
  readonly end: () => void;
};

/**
 * The calls that this process is working on. It renews their leases, so that recovery does not take them over, and it does not stop
 * before they are finished, even if their clients have disconnected.
 */
@Injectable()
export class RunningGenerationsService implements BeforeApplicationShutdown {
  private readonly logger = new Logger(RunningGenerationsService.name);
  private readonly running = new Map<Generation, Run>();
  /** Calls that are answered but whose outcome is still being written. */
  private readonly unrecorded = new Map<Generation, Promise<void>>();
  private renewal: NodeJS.Timeout | null = null;

  constructor(
    private readonly records: GenerationRecordsService,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  get size(): number {
    return this.running.size;
  }

  /** Registers a call that starts now. The caller has to end it. */
  start(generation: Generation): Run {
    let resolve: () => void = () => undefined;
    const over = new Promise<void>((end) => (resolve = end));
    const run: Run = {
      over,
      writeOutcome: (written) => this.unrecorded.set(generation, written),
      end: () => {
        const written = this.unrecorded.get(generation);
        if (written === undefined) this.forget(generation);
        else void written.finally(() => this.forget(generation));
        resolve();
      },
    };
    this.running.set(generation, run);
    this.renewal ??= setInterval(() => void this.renewLeases(), this.limits.leaseRenewalMs).unref();
    return run;
  }

  /** Returns the calls in this process that `call` may be a retry of. */
  findIds(call: SameCall): string[] {
    return this.same(call).flatMap(({ id, attempt }) => (attempt === null ? [] : [id]));
  }

  /** Returns the calls in this process that make the same images and have no idempotency key. */
  findUnkeyedIds(call: SameCall): string[] {
    return this.same(call).flatMap(({ id, idempotencyKey }) => (idempotencyKey === null ? [id] : []));
  }

  private same(call: SameCall): Generation[] {
    return [...this.running.keys()].filter(
      ({ accountId, apiKeyId, fingerprint, outputFormat }) =>
        accountId === call.accountId &&
        apiKeyId === call.apiKeyId &&
        fingerprint === call.fingerprint &&
        acceptsFormat(call.outputFormat, outputFormat),
    );
  }

  /** Resolves when one of these calls has ended and its outcome is written. Returns null when none of them runs in this process. */
  ended(...ids: readonly string[]): Promise<void> | null {
    const endings = [...this.running].flatMap(([generation, { over }]) =>
      ids.includes(generation.id) ? over.then(() => this.unrecorded.get(generation)) : [],
    );
    return endings.length === 0 ? null : Promise.race(endings);
  }

  /** Resolves when the outcome of every call that this process has answered to the account is written, so that reads include it. */
  async recorded(accountId: string): Promise<void> {
    const rests = [...this.unrecorded].filter(([generation]) => generation.accountId === accountId);
    await Promise.all(rests.map(([, rest]) => rest));
  }

  /** Every call ends by its own deadline, so this ends as well. */
  async beforeApplicationShutdown(): Promise<void> {
    while (this.running.size > 0) {
      const runs = [...this.running.values()].map(({ over }) => over);
      await Promise.all([...runs, ...this.unrecorded.values()]);
    }
  }

  private forget(generation: Generation): void {
    this.running.delete(generation);
    this.unrecorded.delete(generation);
    if (this.running.size > 0 || this.renewal === null) return;
    clearInterval(this.renewal);
    this.renewal = null;
  }

  private async renewLeases(): Promise<void> {
    try {
      await this.records.renewLeases([...this.running.keys()], this.clock.nowMs());
    } catch (error) {
      // When the database is unavailable, recovery cannot take the calls over either. The next interval tries again.
      this.logger.warn(
        { event: 'generation.leases_not_renewed', err: error },
        'The leases of running calls could not be renewed; this is tried again',
      );
    }
  }
}

/** A client may read a large answer slowly. The outcome is written after this time at the latest. */
const ANSWER_MS = 5_000;

/** How a call ended, without what is only known when it is written. */
export type Outcome = Omit<Ending, 'finishedAtMs' | 'answered'>;

/**
 * Records how calls ended, and whether their answers reached their clients. The money is settled by then, so no write of this class
 * rejects: recovery finds a call whose outcome is not recorded, and derives the same outcome from its hold.
 */
@Injectable()
export class CallOutcomesService {
  private readonly logger = new Logger(CallOutcomesService.name);

  constructor(
    private readonly records: GenerationRecordsService,
    private readonly claims: RetryClaimsService,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** @param answered whether the answer has reached its client; absent when that is not known. */
  async write(generation: Generation, outcome: Outcome, answered?: boolean): Promise<void> {
    const finishedAtMs = this.clock.nowMs();
    const ending = { ...outcome, finishedAtMs, ...(answered === undefined ? {} : { answered }) };
    try {
      await this.records.finish(generation, ending);
    } catch (error) {
      this.logger.warn(
        { event: 'generation.outcome_not_recorded', generation: generation.id, err: error },
        'The outcome of a call could not be recorded; recovery records it',
      );
    }
  }

  /**
   * Writes the outcome together with whether its answer reached the client: once the answer has ended, or after `ANSWER_MS`. The
   * outcome is written after the answer anyway, so this costs no further write, and a retry finds every attempt whose answer was lost.
   */
  async writeAfterAnswer(
    generation: Generation,
    client: RetryingClient | null,
    outcome: Outcome,
  ): Promise<void> {
    if (client === null) return this.write(generation, outcome);
    const patience = new AbortController();
    const late = sleep(ANSWER_MS, null, { signal: patience.signal, ref: false }).catch(() => null);
    const answered = await Promise.race([client.answered, late]);
    patience.abort();
    const written = this.write(generation, outcome, answered ?? undefined);
    if (answered === true) this.watchConnection(generation, client, written);
    await written;
    if (answered !== null) return;
    void client.answered.then((ending) => {
      const recorded = this.try(generation, () => this.claims.endAnswer(generation, ending));
      if (ending) this.watchConnection(generation, client, recorded);
    });
  }

  /**
   * Marks the attempt as abandoned when the connection ends shortly after the answer. `after` is the write that has to be complete
   * before.
   */
  watchConnection(generation: GenerationKey, client: RetryingClient, after: Promise<void>): void {
    client.onDoubt(
      () => void after.then(() => this.try(generation, () => this.claims.markAbandoned(generation))),
    );
  }

  /** Keeps the hold and leaves the call to recovery, which asks the provider from now on. */
  async leaveToRecovery(
    generation: Generation,
    errorCode: string,
    authorizedAtMs: number,
    results: readonly TaskResult[],
  ): Promise<void> {
    try {
      await this.records.lose(generation, errorCode, authorizedAtMs, results, this.clock.nowMs());
    } catch (error) {
      // Recovery finds the call when its lease expires. The outcome is still unknown, so the client must not call again.
      this.logger.warn(
        { event: 'generation.unresolved_not_recorded', generation: generation.id, err: error },
        'A call of unknown outcome could not be recorded; recovery finds it when its lease expires',
      );
    }
  }

  private async try(generation: GenerationKey, write: () => Promise<void>): Promise<void> {
    try {
      await write();
    } catch (error) {
      this.logger.warn(
        { event: 'generation.answer_end_not_recorded', generation: generation.id, err: error },
        'Whether an answer reached its client could not be recorded',
      );
    }
  }
}
