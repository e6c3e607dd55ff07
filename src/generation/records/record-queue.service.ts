import { setImmediate as endOfThisTurn } from 'node:timers/promises';
import { Inject, Injectable, Optional, type OnApplicationShutdown } from '@nestjs/common';
import type { PoolClient } from 'pg';
import { DataSource } from 'typeorm';
import { isConnectionFailure, isLockTimeout, isUnavailable } from '../../database/constraints.js';
import { ANSWER_MARGIN_MS } from '../../database/data-source.js';
import { runTogether } from '../../database/pipeline.js';
import { DatabaseUnavailableError } from '../../problems/common.errors.js';
import { statementsFor, type RecordWrite } from './record-statements.js';

/** About ten milliseconds of the server's time: longer, and a write that comes just after a batch waits for it noticeably. */
const BATCH_MAX = 256;
/** About a second of work. Calls that would begin beyond it are refused at once instead of timing out. */
const QUEUE_MAX = 10_000;
/** Longer than a migration may hold a table (5 s). No statement of ours holds a row for longer than one packet. */
const LOCK_TIMEOUT_MS = 6_000;
export const RECORD_LOCK_TIMEOUT_MS = Symbol('RECORD_LOCK_TIMEOUT_MS');

type Queued = {
  readonly write: RecordWrite;
  readonly resolve: (isWritten: boolean) => void;
  readonly reject: (reason: unknown) => void;
};

const nameOf = (row: { readonly account_id: string; readonly id: string }): string =>
  `${row.account_id}\n${row.id}`;
const nameOfWrite = ({ generation: { accountId, id } }: RecordWrite): string => `${accountId}\n${id}`;

/**
 * Writes the records of calls in shared commits: while the server works on one batch, the next gathers. No timer delays
 * a lone write, and a write that the database refuses fails alone. ADR 24 has the reasons.
 */
@Injectable()
export class RecordQueue implements OnApplicationShutdown {
  private waiting: Queued[] = [];
  private draining: Promise<void> | null = null;

  constructor(
    private readonly dataSource: DataSource,
    @Optional() @Inject(RECORD_LOCK_TIMEOUT_MS) private readonly lockTimeoutMs = LOCK_TIMEOUT_MS,
  ) {}

  /**
   * Resolves after the commit. False: nothing was written, because the generation is over or its idempotency key belongs
   * to another one. Rejects with what the database throws, and with `DatabaseUnavailableError` (503) when too many
   * writes are waiting.
   */
  add(write: RecordWrite): Promise<boolean> {
    // Outcomes are always accepted: there are no more of them than calls, and recovery has to repair what is not written.
    const isOutcome = write.state.status !== 'running';
    if (this.waiting.length >= QUEUE_MAX && !isOutcome) {
      return Promise.reject(new DatabaseUnavailableError(new Error('too many records of calls are waiting')));
    }
    return new Promise<boolean>((resolve, reject) => {
      this.waiting.push({ write, resolve, reject });
      this.draining ??= this.drain();
    });
  }

  /** Finishes everything that was accepted. */
  async onApplicationShutdown(): Promise<void> {
    await this.draining;
  }

  private async drain(): Promise<void> {
    do {
      // Answers that arrived together are handled in one turn of the event loop; what they write shares a commit.
      await endOfThisTurn();
      await this.commit(this.nextBatch());
    } while (this.waiting.length > 0);
    this.draining = null;
  }

  /** At most one write of each generation: the next one has to find what this one wrote. */
  private nextBatch(): Queued[] {
    const batch = new Map<string, Queued>();
    const later: Queued[] = [];
    for (const queued of this.waiting) {
      const name = nameOfWrite(queued.write);
      if (batch.size < BATCH_MAX && !batch.has(name)) batch.set(name, queued);
      else later.push(queued);
    }
    this.waiting = later;
    return [...batch.values()];
  }

  /** Never throws: every caller of the batch gets its own answer. */
  private async commit(batch: readonly Queued[]): Promise<void> {
    try {
      const written = await this.run(batch.map(({ write }) => write));
      for (const { write, resolve } of batch) resolve(written.has(nameOfWrite(write)));
    } catch (error) {
      if (batch.length === 1 || !isOneToBlame(error)) {
        for (const { reject } of batch) reject(error);
        return;
      }
      for (const part of partsOf(batch, error)) await this.commit(part);
    }
  }

  /** The names of the generations that were written. */
  private async run(writes: readonly RecordWrite[]): Promise<ReadonlySet<string>> {
    const runner = this.dataSource.createQueryRunner();
    try {
      const client = (await runner.connect()) as PoolClient;
      try {
        const answers = await runTogether(
          client,
          statementsFor(writes, this.lockTimeoutMs),
          this.lockTimeoutMs + ANSWER_MARGIN_MS,
        );
        return new Set((answers.flat() as Parameters<typeof nameOf>[0][]).map(nameOf));
      } catch (error) {
        // Waits until a connection that is being closed is closed: the next batch must not be handed it.
        if (isConnectionFailure(error)) await client.query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    } finally {
      await runner.release();
    }
  }
}

/**
 * Whether other writes of the batch may go through by themselves. Not after a lost connection, where the batch may have
 * been committed: a claim that is run again would then take itself for a copy of its call.
 */
function isOneToBlame(error: unknown): boolean {
  return isLockTimeout(error) || !isUnavailable(error);
}

/** Halves isolate a refused write in the fewest commits. After a lock timeout only what is locked may wait once more. */
function partsOf(batch: readonly Queued[], error: unknown): (readonly Queued[])[] {
  if (isLockTimeout(error)) return batch.map((queued) => [queued]);
  const middle = batch.length >> 1;
  return [batch.slice(0, middle), batch.slice(middle)];
}
