import type { Logger } from '@nestjs/common';
import type { Clock } from '../../../platform/common/clock.js';
import type { GenerationRecords } from './records/generation-records.service.js';
import type { Generation, KnownTask } from './records/generation.js';

/**
 * Writes a running call's row and its tasks as they become known, while the provider works. A provider that names no task
 * may work for longer than any call without a row is believed to be alive, so the row does not wait for one for ever. One
 * write at a time; tasks that become known meanwhile share the next, so ten images cost two or three writes, not ten.
 */
export class GenerationJournal {
  private waiting: KnownTask[] = [];
  private writing: Promise<void> | null = null;
  private written = false;
  private ended = false;
  private closed = false;
  private readonly timer: NodeJS.Timeout;

  /** @param rowAfterMs so long after its beginning, and again after as much, the row is written when no task was named. */
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

  /** A task that could not be written is not lost: it is written with the next one, or before the call is charged. */
  add(known: KnownTask): void {
    if (this.closed) return;
    this.waiting.push(known);
    this.begin();
  }

  /**
   * Nothing is added afterwards. With `rowNeeded` the row and all tasks are there for certain when it resolves: whoever recovers the call
   * finds all that is charged for next. It throws what the database throws. Answers whether the generation is still this process' to
   * finish: false means that recovery took this process for dead and has ended the generation.
   */
  async close(rowNeeded: boolean): Promise<boolean> {
    this.abandon();
    await this.writing;
    if (rowNeeded && (!this.written || this.waiting.length > 0)) await this.write();
    return !this.ended;
  }

  /** Nothing is written any more: the call broke off, and recovery finds what there is of it. */
  abandon(): void {
    this.closed = true;
    clearInterval(this.timer);
  }

  private begin(): void {
    this.writing ??= this.write().catch((error: unknown) => {
      this.logger.warn({ generation: this.generation.id, err: error }, 'A running call was not recorded');
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
        // What is known once it is closed waits for nothing but `close`.
      } while (this.waiting.length > 0 && !this.closed);
    } finally {
      this.writing = null;
    }
  }
}
