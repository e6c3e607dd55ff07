import type { Logger } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import type { GenerationRecords } from './records/generation-records.service.js';
import type { Generation, KnownTask } from './records/generation.js';

/**
 * Writes the row of a running call, and its tasks as they become known, while the provider works. A call without a row is taken
 * for dead after a while, so the row is also written when no provider has named a task in time. Only one write runs at a time;
 * tasks that become known during a write share the next one, so ten images cost two or three writes instead of ten.
 */
export class GenerationJournal {
  private waiting: KnownTask[] = [];
  private writing: Promise<void> | null = null;
  private written = false;
  private ended = false;
  private closed = false;
  private readonly timer: NodeJS.Timeout;

  /** @param rowAfterMs the interval at which writing the row is tried until it is written, even without a task. */
  constructor(
    private readonly records: GenerationRecords,
    private readonly generation: Generation,
    private readonly authorizedAtMs: number,
    private readonly clock: Clock,
    private readonly logger: Logger,
    rowAfterMs: number,
  ) {
    this.timer = setInterval(() => {
      if (!this.written) this.begin();
    }, rowAfterMs);
  }

  /** Queues a task. If its write fails, it is written with the next one, or at the latest before the call is charged. */
  add(known: KnownTask): void {
    if (this.closed) return;
    this.waiting.push(known);
    this.begin();
  }

  /**
   * Accepts no more tasks. With `rowNeeded` the row and all tasks are written when it resolves, so that recovery finds everything
   * that is charged next. Throws what the database throws. Returns false when recovery took this process for dead and has ended
   * the generation; then this process must not finish it.
   */
  async close(rowNeeded: boolean): Promise<boolean> {
    this.abandon();
    await this.writing;
    if (rowNeeded && (!this.written || this.waiting.length > 0)) await this.write();
    return !this.ended;
  }

  /** Stops writing, because the call has failed unexpectedly. Recovery continues from what is written. */
  abandon(): void {
    this.closed = true;
    clearInterval(this.timer);
  }

  private begin(): void {
    this.writing ??= this.write().catch((error: unknown) => {
      this.logger.warn(
        { event: 'generation.progress_not_recorded', generation: this.generation.id, err: error },
        'The row of a running call could not be written; it is written with the next change',
      );
    });
  }

  private async write(): Promise<void> {
    try {
      do {
        const tasks = this.waiting;
        this.waiting = [];
        const nowMs = this.clock.nowMs();
        try {
          this.ended = !(await this.records.begin(this.generation, this.authorizedAtMs, tasks, nowMs));
        } catch (error) {
          this.waiting = [...tasks, ...this.waiting];
          throw error;
        }
        this.written = true;
        // After `close` nothing is added, and `close` writes by itself what is still waiting.
      } while (this.waiting.length > 0 && !this.closed);
    } finally {
      this.writing = null;
    }
  }
}
