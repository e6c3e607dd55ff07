import { Inject, Injectable, Logger, type BeforeApplicationShutdown } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../../platform/database/ledger-clock.js';
import { acceptsFormat } from './image-request.js';
import { GENERATION_LIMITS, type GenerationLimits } from './generation-limits.js';
import type { Generation } from './records/generation.js';
import { GenerationRecords } from './records/generation-records.service.js';

type SameCall = Pick<Generation, 'accountId' | 'apiKeyId' | 'fingerprint' | 'outputFormat'>;

/**
 * The calls that this process is working on. While there are any, it shows signs of life for them, so that
 * recovery leaves them alone; and it does not stop before they are finished, even if their clients are gone.
 */
@Injectable()
export class RunningGenerations implements BeforeApplicationShutdown {
  private readonly logger = new Logger(RunningGenerations.name);
  private readonly running = new Map<Generation, Promise<unknown>>();
  /** Answered calls whose outcome is being written down. */
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

  /** Runs `work`, and answers what it answers. What `work` leaves for afterwards belongs to the call as well. */
  async track<T>(
    generation: Generation,
    work: (afterwards: (rest: Promise<void>) => void) => Promise<T>,
  ): Promise<T> {
    const answer = work((rest) => this.unrecorded.set(generation, rest));
    this.running.set(generation, answer);
    this.renewal ??= setInterval(() => void this.renewLeases(), this.limits.leaseRenewalMs).unref();
    try {
      return await answer;
    } finally {
      const rest = this.unrecorded.get(generation);
      if (rest === undefined) this.forget(generation);
      else void rest.finally(() => this.forget(generation));
    }
  }

  /** The calls under way here that a retry of this one may belong to. */
  idsOf(call: SameCall): string[] {
    return this.same(call).flatMap(({ id, attempt }) => (attempt === null ? [] : [id]));
  }

  /** The calls under way here that make what this one asks for, of any client that names its call by no key. */
  unkeyedIdsOf(call: SameCall): string[] {
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

  /** Resolves when one of these calls has ended and its outcome is written down; null: none of them is under way here. */
  ended(...ids: readonly string[]): Promise<void> | null {
    const endings = [...this.running].flatMap(([generation, answer]) =>
      ids.includes(generation.id)
        ? answer.then(() => this.unrecorded.get(generation)).catch(() => undefined)
        : [],
    );
    return endings.length === 0 ? null : Promise.race(endings);
  }

  /** Resolves when what this process has answered to the account is written down: who asks next finds it. */
  async recorded(accountId: string): Promise<void> {
    const rests = [...this.unrecorded].filter(([generation]) => generation.accountId === accountId);
    await Promise.all(rests.map(([, rest]) => rest));
  }

  /** Every call ends by its own deadline, so this does as well. */
  async beforeApplicationShutdown(): Promise<void> {
    while (this.running.size > 0) {
      await Promise.allSettled([...this.running.values(), ...this.unrecorded.values()]);
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
      // Recovery cannot read the database either, and the next turn tries again.
      this.logger.warn({ err: error }, 'The leases of the running generations were not renewed');
    }
  }
}
