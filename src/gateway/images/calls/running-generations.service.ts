import { Inject, Injectable, Logger, type BeforeApplicationShutdown } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { acceptsFormat } from './image-request.js';
import { GENERATION_LIMITS, type GenerationLimits } from './generation-limits.js';
import type { Generation } from './records/generation.js';
import { GenerationRecords } from './records/generation-records.service.js';

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
export class RunningGenerations implements BeforeApplicationShutdown {
  private readonly logger = new Logger(RunningGenerations.name);
  private readonly running = new Map<Generation, Run>();
  /** Calls that are answered but whose outcome is still being written. */
  private readonly unrecorded = new Map<Generation, Promise<void>>();
  private renewal: NodeJS.Timeout | null = null;

  constructor(
    private readonly records: GenerationRecords,
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
