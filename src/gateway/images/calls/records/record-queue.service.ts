import { setImmediate as endOfEventLoopTurn } from 'node:timers/promises';
import { Inject, Injectable, Optional, type OnApplicationShutdown } from '@nestjs/common';
import type { PoolClient } from 'pg';
import { DataSource } from 'typeorm';
import {
  isConnectionFailure,
  isLockTimeout,
  isUnavailable,
} from '../../../../platform/database/constraints.js';
import { ANSWER_MARGIN_MS } from '../../../../platform/database/data-source.js';
import { PacketDeadline, PacketTimeoutError, runTogether } from '../../../../platform/database/pipeline.js';
import { DatabaseUnavailableError } from '../../../../platform/errors/common.errors.js';
import { statementsFor, type RecordWrite } from './record-statements.js';

/** A batch takes the server about ten milliseconds. With larger ones, a write that arrives just after a batch would wait noticeably. */
const BATCH_MAX = 256;
/** About one second of work. Further calls are refused at once instead of timing out. */
const QUEUE_MAX = 10_000;
/** Longer than a migration may hold a table (5 s). No statement of ours holds a row for longer than one packet. */
const LOCK_TIMEOUT_MS = 6_000;
/** Longer than any statement of ours holds a row. A write that waits for a longer lock is repeated apart from the other writes. */
const QUICK_LOCK_TIMEOUT_MS = 200;
/** For the first attempt at a batch; see `PacketDeadline`. A call that uses one unresponsive connection still ends within a second. */
const DEADLINE_LEAST_MS = 500;
/** One for an unresponsive connection, one for a locked row and one spare. Beyond this the other writes wait as well. */
const REPEATS_MAX = 3;
export const RECORD_LOCK_TIMEOUT_MS = Symbol('RECORD_LOCK_TIMEOUT_MS');

/**
 * `first` has short limits, so that other writes wait for less than a second. `repeat` runs over another connection, concurrently
 * with the following batches, and waits for locks. `last` writes each generation by itself, after the batch has waited for locks.
 */
type Attempt = 'first' | 'repeat' | 'last';

type Queued = {
  readonly write: RecordWrite;
  readonly resolve: (isWritten: boolean) => void;
  readonly reject: (reason: unknown) => void;
};

const toRowKey = (row: { readonly account_id: string; readonly id: string }): string =>
  `${row.account_id}\n${row.id}`;
const toWriteKey = ({ generation: { accountId, id } }: RecordWrite): string => `${accountId}\n${id}`;

/**
 * Writes the records of calls in shared commits: while the server works on one batch, the next one is collected. No timer delays a
 * single write, and a write that the database refuses fails alone. A batch that is not answered in time, because its server
 * process is suspended or a row is locked, is repeated over another connection while the next batches continue.
 * ADR 24 and ADR 45 have the reasons.
 */
@Injectable()
export class RecordQueue implements OnApplicationShutdown {
  private waiting: Queued[] = [];
  private draining: Promise<void> | null = null;
  private readonly repeats = new Set<Promise<void>>();
  /** For each generation whose write is being repeated, the writes that have arrived since. */
  private readonly heldBack = new Map<string, Queued[]>();
  private readonly deadline = new PacketDeadline(DEADLINE_LEAST_MS);
  private readonly quickLockTimeoutMs: number;

  constructor(
    private readonly dataSource: DataSource,
    @Optional() @Inject(RECORD_LOCK_TIMEOUT_MS) private readonly lockTimeoutMs = LOCK_TIMEOUT_MS,
  ) {
    this.quickLockTimeoutMs = Math.min(QUICK_LOCK_TIMEOUT_MS, lockTimeoutMs);
  }

  /**
   * Resolves after the commit. It resolves to false when nothing was written, because the generation has ended or another one has
   * its idempotency key. Rejects with what the database throws, and with `DatabaseUnavailableError` (503) when too many writes are
   * waiting.
   */
  add(write: RecordWrite): Promise<boolean> {
    // Outcomes are always accepted: there are no more of them than calls, and recovery has to complete each one that is not written.
    const isOutcome = write.state.status !== 'running';
    if (this.waiting.length >= QUEUE_MAX && !isOutcome) {
      return Promise.reject(new DatabaseUnavailableError(new Error('too many records of calls are waiting')));
    }
    return new Promise<boolean>((resolve, reject) => {
      this.enqueue({ write, resolve, reject });
      this.draining ??= this.drain();
    });
  }

  /** Completes every write that was accepted. */
  async onApplicationShutdown(): Promise<void> {
    while (this.draining !== null || this.repeats.size > 0) {
      await Promise.all([this.draining, ...this.repeats]);
    }
  }

  private enqueue(queued: Queued): void {
    const line = this.heldBack.get(toWriteKey(queued.write)) ?? this.waiting;
    line.push(queued);
  }

  private async drain(): Promise<void> {
    do {
      // Responses that arrived together are handled in one turn of the event loop; their writes share a commit.
      await endOfEventLoopTurn();
      await this.commit(this.nextBatch(), 'first');
      if (this.repeats.size >= REPEATS_MAX) await Promise.race(this.repeats);
    } while (this.waiting.length > 0);
    this.draining = null;
  }

  /** Takes at most one write of each generation, because the next one has to find what this one wrote. */
  private nextBatch(): Queued[] {
    const batch = new Map<string, Queued>();
    const later: Queued[] = [];
    for (const queued of this.waiting) {
      const name = toWriteKey(queued.write);
      if (batch.size < BATCH_MAX && !batch.has(name)) batch.set(name, queued);
      else later.push(queued);
    }
    this.waiting = later;
    return [...batch.values()];
  }

  /** Never throws: every caller of the batch gets its own answer. */
  private async commit(batch: readonly Queued[], attempt: Attempt): Promise<void> {
    try {
      const writes = batch.map(({ write }) => write);
      const written = await this.run(writes, attempt);
      for (const { write, resolve } of batch) resolve(written.has(toWriteKey(write)));
    } catch (error) {
      if (attempt === 'first' && (isLockTimeout(error) || isConnectionFailure(error))) {
        return this.beginRepeat(batch);
      }
      if (batch.length === 1 || !isOneToBlame(error)) {
        for (const { reject } of batch) reject(error);
        return;
      }
      const next = isLockTimeout(error) ? 'last' : attempt;
      for (const part of splitBatch(batch, error)) await this.commit(part, next);
    }
  }

  /** Until the repeat ends, other writes for these generations are held back, because they have to find what it wrote. */
  private beginRepeat(batch: readonly Queued[]): void {
    for (const { write } of batch) this.heldBack.set(toWriteKey(write), []);
    const waiting = this.waiting;
    this.waiting = [];
    for (const queued of waiting) this.enqueue(queued);
    const repeat = this.commit(batch, 'repeat').then(() => {
      this.repeats.delete(repeat);
      this.releaseHeldBack(batch);
    });
    this.repeats.add(repeat);
  }

  private releaseHeldBack(batch: readonly Queued[]): void {
    const released: Queued[] = [];
    for (const { write } of batch) {
      const name = toWriteKey(write);
      for (const queued of this.heldBack.get(name) ?? []) released.push(queued);
      this.heldBack.delete(name);
    }
    if (released.length === 0) return;
    this.waiting = released.concat(this.waiting);
    this.draining ??= this.drain();
  }

  /** Returns the keys of the generations that were written. */
  private async run(writes: readonly RecordWrite[], attempt: Attempt): Promise<ReadonlySet<string>> {
    const lockTimeoutMs = attempt === 'repeat' ? this.lockTimeoutMs : this.quickLockTimeoutMs;
    const deadlineMs = attempt === 'first' ? this.deadline.ms : lockTimeoutMs + ANSWER_MARGIN_MS;
    const calls = statementsFor(writes, lockTimeoutMs, attempt !== 'first');
    const runner = this.dataSource.createQueryRunner();
    try {
      const client = (await runner.connect()) as PoolClient;
      const startedAtMs = performance.now();
      try {
        const answers = await runTogether(client, calls, deadlineMs);
        this.deadline.met(performance.now() - startedAtMs);
        return new Set((answers.flat() as Parameters<typeof toRowKey>[0][]).map(toRowKey));
      } catch (error) {
        if (error instanceof PacketTimeoutError) this.deadline.missed();
        // This waits until a connection that is being closed is closed, so that the next batch does not get it.
        if (isConnectionFailure(error)) await client.query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    } finally {
      await runner.release();
    }
  }
}

/** Whether other writes of the batch may succeed by themselves. While the database is unavailable none of them does. */
function isOneToBlame(error: unknown): boolean {
  return isLockTimeout(error) || !isUnavailable(error);
}

/** Halving isolates a refused write in the fewest commits. After a lock timeout each write is tried alone, so only locked ones fail. */
function splitBatch(batch: readonly Queued[], error: unknown): (readonly Queued[])[] {
  if (isLockTimeout(error)) return batch.map((queued) => [queued]);
  const middle = batch.length >> 1;
  return [batch.slice(0, middle), batch.slice(middle)];
}
