import type { Logger } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import type { GenerationRecords } from './records/generation-records.service.js';
import type { Generation, KnownTask } from './records/generation.js';

/**
 * Writes a running call's row and its tasks as they become known, while the provider works. One write at a
 * time; tasks that become known meanwhile share the next, so ten images cost two or three writes, not ten.
 */
export class GenerationJournal {
  private waiting: KnownTask[] = [];
  private writing: Promise<void> | null = null;
  private written = false;
  private ended = false;
  private closed = false;

  constructor(
    private readonly records: GenerationRecords,
    private readonly generation: Generation,
    private readonly authorizedAtMs: number,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** A task that could not be written is not lost to this process, only to the one that would recover it. */
  add(known: KnownTask): void {
    if (this.closed) return;
    this.waiting.push(known);
    this.writing ??= this.write().catch((error: unknown) => {
      this.logger.warn({ generation: this.generation.id, err: error }, 'Tasks were not recorded');
    });
  }

  /**
   * Nothing is added afterwards. With `rowNeeded` the row is there for certain when it resolves; it throws what
   * the database throws. Answers whether the generation is still this process' to finish: false means that
   * recovery took this process for dead and has ended the generation.
   */
  async close(rowNeeded: boolean): Promise<boolean> {
    this.closed = true;
    await this.writing;
    if (rowNeeded && !this.written) await this.write();
    return !this.ended;
  }

  private async write(): Promise<void> {
    try {
      do {
        const tasks = this.waiting;
        this.waiting = [];
        const nowMs = this.clock.nowMs();
        this.ended = !(await this.records.begin(this.generation, this.authorizedAtMs, tasks, nowMs));
        this.written = true;
        // What is known by now is about to be written with its outcome.
      } while (this.waiting.length > 0 && !this.closed);
    } finally {
      this.writing = null;
    }
  }
}
