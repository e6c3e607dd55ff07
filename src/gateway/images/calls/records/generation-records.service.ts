import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { runStatement, type SqlValue, type Statement } from '../../../../platform/database/pipeline.js';
import { GENERATION_TRANSITIONS, type GenerationTransition } from '../generation.machine.js';
import type { Ending, Generation, GenerationKey, KnownTask, RetryState, TaskResult } from './generation.js';
import { CLAIM_DUE, POSTPONE, RENEW } from './generation-statements.js';
import { RecordQueue } from './record-queue.service.js';
import { iso, type GenerationState, type TaskState } from './record-statements.js';

/** Without a sign of life for this long, whoever ran the call is dead. `leaseRenewalMs` is a third of it. */
export const LEASE_MS = 30_000;

/** Writes the state of generations. It decides nothing. Throws what the database throws. */
@Injectable()
export class GenerationRecords {
  constructor(
    private readonly dataSource: DataSource,
    private readonly queue: RecordQueue,
  ) {}

  /** False when the account's idempotency key belongs to another generation that runs or succeeded. */
  claim(generation: Generation): Promise<boolean> {
    const state = running(generation, null, generation.createdAtMs);
    return this.queue.add({ type: 'claim', generation, state, tasks: [] });
  }

  /**
   * The call is under way, with these tasks. Makes the row when there is none yet. False when recovery has
   * ended the generation meanwhile; then nothing is written.
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

  /** Does nothing when the generation is finished already: whoever was first had the same hold to go by. */
  async finish(generation: Generation, ending: Ending): Promise<void> {
    const delivered = ending.results.filter((result) => result.failure === null).length;
    const transition: GenerationTransition = delivered > 0 ? 'deliver' : 'fail';
    const { chargedMicros, errorCode, authorizedAtMs, deliveredAtMs, finishedAtMs } = ending;
    // What failed for nothing is made anew by whoever sends it again.
    const retryState = delivered > 0 ? retryStateOf(generation, ending.answered) : null;
    const state = {
      ...{ status: GENERATION_TRANSITIONS[transition].to, imagesDelivered: delivered },
      ...{ leaseExpiresAtMs: finishedAtMs, chargedMicros, errorCode },
      ...{ authorizedAtMs, deliveredAtMs, finishedAtMs, retryState },
    };
    await this.save(generation, state, ending.results.map(toEnded));
  }

  /** Leaves it to recovery, which may begin at once; `results` tell which tasks are to be asked for. */
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

  /** Takes over generations that nobody works on, for `leaseMs`; oldest first. */
  async claimDue(nowMs: number, leaseMs: number, limit: number): Promise<GenerationKey[]> {
    return this.run<GenerationKey>(CLAIM_DUE, [iso(nowMs), iso(nowMs + leaseMs), limit]);
  }

  /** Gives a claimed generation back; it is due again at `dueAtMs`. */
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
    retryState: retryStateOf(generation),
  };
}

/** What a retry may find from now on. */
function retryStateOf({ attempt }: Generation, answered?: boolean): RetryState | null {
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
