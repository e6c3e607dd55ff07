import { setImmediate as endOfThisTurn } from 'node:timers/promises';
import { Inject, Injectable, Optional, type OnApplicationShutdown } from '@nestjs/common';
import type { PoolClient } from 'pg';
import { DataSource } from 'typeorm';
import {
  isConnectionFailure,
  isLockTimeout,
  isUnavailable,
} from '../../../../platform/database/constraints.js';
import { ANSWER_MARGIN_MS } from '../../../../platform/database/data-source.js';
import { PacketDeadline } from '../../../../platform/database/packet-deadline.js';
import { PacketTimeoutError, runTogether } from '../../../../platform/database/pipeline.js';
import { DatabaseUnavailableError } from '../../../../platform/errors/common.errors.js';
import { statementsFor, type RecordWrite } from './record-statements.js';

/** About ten milliseconds of the server's time: longer, and a write that comes just after a batch waits for it noticeably. */
const BATCH_MAX = 256;
/** About a second of work. Calls that would begin beyond it are refused at once instead of timing out. */
const QUEUE_MAX = 10_000;
/** Longer than a migration may hold a table (5 s). No statement of ours holds a row for longer than one packet. */
const LOCK_TIMEOUT_MS = 6_000;
/** Longer than any statement of ours holds a row: what is locked for longer is waited for apart from the other writes. */
const QUICK_LOCK_TIMEOUT_MS = 200;
/** For the first try of a batch; see `PacketDeadline`. A call that meets one silent connection still ends within a second. */
const DEADLINE_LEAST_MS = 500;
/** One for a silent connection, one for a locked row, one to spare. Beyond it, the other writes wait as well. */
const REPEATS_MAX = 3;
export const RECORD_LOCK_TIMEOUT_MS = Symbol('RECORD_LOCK_TIMEOUT_MS');

/**
 * first: with short limits, so that other writes wait for less than a second. repeat: over another connection, beside the batches that
 * come next; it waits for locks. last: of each write by itself, once the locks of its batch were waited for.
 */
type Attempt = 'first' | 'repeat' | 'last';

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
 * a lone write, and a write that the database refuses fails alone. A batch that is not answered at once, because its
 * server process stands still or a row is locked, is repeated over another connection while the next ones go on.
 * ADR 24 and ADR 45 have the reasons.
 */
@Injectable()
export class RecordQueue implements OnApplicationShutdown {
  private waiting: Queued[] = [];
  private draining: Promise<void> | null = null;
  private readonly repeats = new Set<Promise<void>>();
  /** For each generation whose write is being repeated, what has come for it since. */
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
      this.enqueue({ write, resolve, reject });
      this.draining ??= this.drain();
    });
  }

  /** Finishes everything that was accepted. */
  async onApplicationShutdown(): Promise<void> {
    while (this.draining !== null || this.repeats.size > 0) {
      await Promise.all([this.draining, ...this.repeats]);
    }
  }

  private enqueue(queued: Queued): void {
    const line = this.heldBack.get(nameOfWrite(queued.write)) ?? this.waiting;
    line.push(queued);
  }

  private async drain(): Promise<void> {
    do {
      // Answers that arrived together are handled in one turn of the event loop; what they write shares a commit.
      await endOfThisTurn();
      await this.commit(this.nextBatch(), 'first');
      if (this.repeats.size >= REPEATS_MAX) await Promise.race(this.repeats);
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
  private async commit(batch: readonly Queued[], attempt: Attempt): Promise<void> {
    try {
      const writes = batch.map(({ write }) => write);
      const written = await this.run(writes, attempt);
      for (const { write, resolve } of batch) resolve(written.has(nameOfWrite(write)));
    } catch (error) {
      if (attempt === 'first' && (isLockTimeout(error) || isConnectionFailure(error))) {
        return this.beginRepeat(batch);
      }
      if (batch.length === 1 || !isOneToBlame(error)) {
        for (const { reject } of batch) reject(error);
        return;
      }
      const next = isLockTimeout(error) ? 'last' : attempt;
      for (const part of partsOf(batch, error)) await this.commit(part, next);
    }
  }

  /** Until it is over, whatever else comes for these generations is held back: it has to find what this one wrote. */
  private beginRepeat(batch: readonly Queued[]): void {
    for (const { write } of batch) this.heldBack.set(nameOfWrite(write), []);
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
      const name = nameOfWrite(write);
      for (const queued of this.heldBack.get(name) ?? []) released.push(queued);
      this.heldBack.delete(name);
    }
    if (released.length === 0) return;
    this.waiting = released.concat(this.waiting);
    this.draining ??= this.drain();
  }

  /** The names of the generations that were written. */
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
        return new Set((answers.flat() as Parameters<typeof nameOf>[0][]).map(nameOf));
      } catch (error) {
        if (error instanceof PacketTimeoutError) this.deadline.missed();
        // Waits until a connection that is being closed is closed: the next batch must not be handed it.
        if (isConnectionFailure(error)) await client.query('ROLLBACK').catch(() => undefined);
        throw error;
      }
    } finally {
      await runner.release();
    }
  }
}

/** Whether other writes of the batch may go through by themselves. While the database is away none of them does. */
function isOneToBlame(error: unknown): boolean {
  return isLockTimeout(error) || !isUnavailable(error);
}

/** Halves isolate a refused write in the fewest commits. After a lock timeout only what is locked fails. */
function partsOf(batch: readonly Queued[], error: unknown): (readonly Queued[])[] {
  if (isLockTimeout(error)) return batch.map((queued) => [queued]);
  const middle = batch.length >> 1;
  return [batch.slice(0, middle), batch.slice(middle)];
}
