import { setTimeout as sleep } from 'node:timers/promises';
import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { GenerationRecords } from './records/generation-records.service.js';
import type { Ending, Generation, GenerationKey, TaskResult } from './records/generation.js';
import { RetryClaims } from './retries/retry-claims.service.js';
import type { RetryingClient } from './retries/retrying-client.js';

/** A client may read a large answer slowly. The outcome is written after this time at the latest. */
const ANSWER_MS = 5_000;

/** How a call ended, without what is only known when it is written. */
export type Outcome = Omit<Ending, 'finishedAtMs' | 'answered'>;

/**
 * Records how calls ended, and whether their answers reached their clients. The money is settled by then, so no write of this class
 * rejects: recovery finds a call whose outcome is not recorded, and derives the same outcome from its hold.
 */
@Injectable()
export class CallOutcomes {
  private readonly logger = new Logger(CallOutcomes.name);

  constructor(
    private readonly records: GenerationRecords,
    private readonly claims: RetryClaims,
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
