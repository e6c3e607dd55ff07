import { Injectable, type Logger } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { runStatement, type SqlValue, type Statement } from '../../../../platform/database/pipeline.js';
import { GENERATION_TRANSITIONS, type GenerationTransition } from '../generation.machine.js';
import type { Clock } from '../../../../platform/common/clock.js';
import type { Ending, Generation, GenerationKey, KnownTask, RetryState, TaskResult } from './generation.js';
import { RecordQueueService, iso, type GenerationState, type TaskState } from './record-queue.service.js';

/** A process that has not renewed a call's lease for this long counts as dead. `leaseRenewalMs` is a third of it. */
export const LEASE_MS = 30_000;

/** Writes the state of generations, without deciding anything. Throws what the database throws. */
@Injectable()
export class GenerationRecordsService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queue: RecordQueueService,
  ) {}

  /** Returns false when another generation that is running or succeeded has the account's idempotency key. */
  claim(generation: Generation): Promise<boolean> {
    const state = running(generation, null, generation.createdAtMs);
    return this.queue.add({ type: 'claim', generation, state, tasks: [] });
  }

  /**
   * Records that the call is running with these tasks, and makes the row if there is none. Returns false and writes nothing when
   * recovery has ended the generation in the meantime.
   */
  begin(
    generation: Generation,
    authorizedAtMs: number,
    tasks: readonly KnownTask[],
    nowMs: number,
  ): Promise<boolean> {
    const pending = tasks.map((known): TaskState => toPending(known, nowMs));
    return this.save(generation, running(generation, authorizedAtMs, nowMs), pending);
  }

  /** Does nothing when the generation is finished already: the first process had the same hold, and so the same outcome. */
  async finish(generation: Generation, ending: Ending): Promise<void> {
    const delivered = ending.results.filter((result) => result.failure === null).length;
    const transition: GenerationTransition = delivered > 0 ? 'deliver' : 'fail';
    const { chargedMicros, errorCode, authorizedAtMs, deliveredAtMs, finishedAtMs } = ending;
    // A failed call that was not charged is not claimed by a retry; the retry runs as a new call.
    const retryState = delivered > 0 ? toRetryState(generation, ending.answered) : null;
    const state = {
      ...{ status: GENERATION_TRANSITIONS[transition].to, imagesDelivered: delivered },
      ...{ leaseExpiresAtMs: finishedAtMs, chargedMicros, errorCode },
      ...{ authorizedAtMs, deliveredAtMs, finishedAtMs, retryState },
    };
    await this.save(generation, state, ending.results.map(toEnded));
  }

  /** Leaves the call to recovery, which may start at once. `results` have the tasks that recovery asks the provider for. */
  async lose(
    generation: Generation,
    errorCode: string,
    authorizedAtMs: number,
    results: readonly TaskResult[],
    nowMs: number,
  ): Promise<void> {
    const begun = running(generation, authorizedAtMs, nowMs);
    const state = { ...begun, leaseExpiresAtMs: nowMs, errorCode, status: GENERATION_TRANSITIONS.lose.to };
    const tasks = results.flatMap(({ task, ...rest }) => (task === null ? [] : [{ ...rest, task }]));
    const pending = tasks.map((known) => toPending(known, nowMs));
    await this.save(generation, state, pending);
  }

  async renewLeases(live: readonly GenerationKey[], nowMs: number): Promise<void> {
    await this.run(RENEW, [
      live.map((generation) => generation.accountId),
      live.map((generation) => generation.id),
      iso(nowMs + LEASE_MS),
    ]);
  }

  /** Takes over generations whose lease has expired, for `leaseMs`; oldest first. */
  async claimDue(nowMs: number, leaseMs: number, limit: number): Promise<GenerationKey[]> {
    return this.run<GenerationKey>(CLAIM_DUE, [iso(nowMs), iso(nowMs + leaseMs), limit]);
  }

  /** Releases a claimed generation, which is due again at `dueAtMs`. */
  async postpone({ accountId, id }: GenerationKey, dueAtMs: number): Promise<void> {
    await this.run(POSTPONE, [accountId, id, iso(dueAtMs)]);
  }

  private save(
    generation: Generation,
    state: GenerationState,
    tasks: readonly TaskState[],
  ): Promise<boolean> {
    return this.queue.add({ type: 'save', generation, state, tasks });
  }

  private run<Row>(statement: Statement, values: readonly SqlValue[]): Promise<Row[]> {
    return runStatement(this.dataSource, statement, values);
  }
}

function running(generation: Generation, authorizedAtMs: number | null, nowMs: number): GenerationState {
  return {
    status: 'running',
    leaseExpiresAtMs: nowMs + LEASE_MS,
    imagesDelivered: 0,
    chargedMicros: 0n,
    errorCode: null,
    authorizedAtMs,
    deliveredAtMs: null,
    finishedAtMs: null,
    retryState: toRetryState(generation),
  };
}

/** Returns whether, and how, a retry may claim the attempt from now on. */
function toRetryState({ attempt }: Generation, answered?: boolean): RetryState | null {
  if (attempt === null || answered === true) return null;
  return answered === false ? 'abandoned' : 'open';
}

function toPending({ position, attempt, provider, task }: KnownTask, nowMs: number): TaskState {
  const unknown = { bytes: null, format: null, failure: null, finishedAtMs: null };
  return { position, attempt, provider, task, status: 'pending', createdAtMs: nowMs, ...unknown };
}

function toEnded(result: TaskResult): TaskState {
  const status = result.failure === null ? 'delivered' : 'failed';
  return { ...result, status, createdAtMs: result.finishedAtMs };
}

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
    private readonly records: GenerationRecordsService,
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

/**
 * Skips locked rows: another write has the lock, and three renewals may fail. It never waits for a row, so it cannot deadlock with a
 * batch of `RecordQueueService`, in whatever order the server finds the rows.
 */
export const RENEW: Statement = {
  name: 'generation_renew',
  text: `
  WITH live AS (
    SELECT g.account_id, g.id FROM generations g
      JOIN unnest($1::text[], $2::text[]) AS named (account_id, id)
        ON g.account_id = named.account_id AND g.id = named.id
     WHERE g.status = 'running' FOR UPDATE OF g SKIP LOCKED)
  UPDATE generations g SET lease_expires_at = $3
    FROM live WHERE g.account_id = live.account_id AND g.id = live.id`,
};

/** Several processes may recover concurrently; each takes generations that no other one is taking. */
export const CLAIM_DUE: Statement = {
  name: 'generation_claim_due',
  text: `
  WITH due AS (
    SELECT account_id, id FROM generations
     WHERE status IN ('running', 'unresolved') AND lease_expires_at <= $1
     ORDER BY lease_expires_at LIMIT $3 FOR UPDATE SKIP LOCKED)
  UPDATE generations g SET lease_expires_at = $2 FROM due
   WHERE g.account_id = due.account_id AND g.id = due.id
  RETURNING g.account_id AS "accountId", g.id`,
};

export const POSTPONE: Statement = {
  name: 'generation_postpone',
  text: `
  UPDATE generations SET lease_expires_at = $3
   WHERE account_id = $1 AND id = $2 AND status IN ('running', 'unresolved')`,
};
