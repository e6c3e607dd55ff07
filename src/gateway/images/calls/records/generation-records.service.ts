import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { runStatement, type SqlValue, type Statement } from '../../../../platform/database/pipeline.js';
import { GENERATION_TRANSITIONS, type GenerationTransition } from '../generation.machine.js';
import type { Ending, Generation, GenerationKey, KnownTask, RetryState, TaskResult } from './generation.js';
import { CLAIM_DUE, POSTPONE, RENEW } from './generation-statements.js';
import { RecordQueue } from './record-queue.service.js';
import { iso, type GenerationState, type TaskState } from './record-statements.js';

/** A process that has not renewed a call's lease for this long counts as dead. `leaseRenewalMs` is a third of it. */
export const LEASE_MS = 30_000;

/** Writes the state of generations, without deciding anything. Throws what the database throws. */
@Injectable()
export class GenerationRecords {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queue: RecordQueue,
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
