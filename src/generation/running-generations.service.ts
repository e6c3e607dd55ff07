import { Inject, Injectable, Logger, type BeforeApplicationShutdown } from '@nestjs/common';
import { CLOCK, type Clock } from '../common/clock.js';
import { GENERATION_LIMITS, type GenerationLimits } from './generation-limits.js';
import type { Generation } from './records/generation.js';
import { GenerationRecords } from './records/generation-records.service.js';

/**
 * The calls that this process is working on. While there are any, it shows signs of life for them, so that
 * recovery leaves them alone; and it does not stop before they are finished, even if their clients are gone.
 */
@Injectable()
export class RunningGenerations implements BeforeApplicationShutdown {
  private readonly logger = new Logger(RunningGenerations.name);
  private readonly running = new Map<Generation, Promise<unknown>>();
  private renewal: NodeJS.Timeout | null = null;

  constructor(
    private readonly records: GenerationRecords,
    @Inject(GENERATION_LIMITS) private readonly limits: GenerationLimits,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  get size(): number {
    return this.running.size;
  }

  /** Runs `work`, and answers what it answers. */
  track<T>(generation: Generation, work: () => Promise<T>): Promise<T> {
    const done = work().finally(() => this.forget(generation));
    this.running.set(generation, done);
    this.renewal ??= setInterval(() => void this.renewLeases(), this.limits.leaseRenewalMs).unref();
    return done;
  }

  /** Every call ends by its own deadline, so this does as well. */
  async beforeApplicationShutdown(): Promise<void> {
    while (this.running.size > 0) await Promise.allSettled(this.running.values());
  }

  private forget(generation: Generation): void {
    this.running.delete(generation);
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
