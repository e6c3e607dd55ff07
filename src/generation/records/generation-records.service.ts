import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { runStatement, type SqlValue, type Statement } from '../../database/pipeline.js';
import { GENERATION_TRANSITIONS, OPEN_STATUSES, type GenerationTransition } from '../generation.machine.js';
import type { Ending, Generation, GenerationKey, KnownTask, RetryState, TaskResult } from './generation.js';
import { CLAIM_DUE, FINISH, FORGET_KEYS, INSERT, POSTPONE, RENEW, SAVE } from './generation-statements.js';

/** Without a sign of life for this long, whoever ran the call is dead. `leaseRenewalMs` is a third of it. */
export const LEASE_MS = 30_000;

/** The part of a generation's row that changes. */
type State = {
  readonly status: string;
  /** From which statuses the change is allowed; a row that does not exist yet may always be made. */
  readonly from: readonly string[];
  readonly leaseExpiresAtMs: number;
  readonly imagesDelivered: number;
  readonly chargedMicros: bigint;
  readonly errorCode: string | null;
  readonly authorizedAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly finishedAtMs: number | null;
  readonly retryState: RetryState | null;
};

type TaskState = Omit<TaskResult, 'finishedAtMs'> & {
  readonly status: 'pending' | 'delivered' | 'failed';
  readonly createdAtMs: number;
  readonly finishedAtMs: number | null;
};

/** Writes the state of generations. It decides nothing. Throws what the database throws. */
@Injectable()
export class GenerationRecords {
  constructor(private readonly dataSource: DataSource) {}

  /** False when the account's idempotency key belongs to another generation that runs or succeeded. */
  async claim(generation: Generation): Promise<boolean> {
    const { createdAtMs } = generation;
    const rows = await this.run(INSERT, [...fixedValues(generation), iso(createdAtMs + LEASE_MS)]);
    return rows.length > 0;
  }

  /**
   * The call is under way, with these tasks. Makes the row when there is none yet. False when recovery has
   * ended the generation meanwhile; then nothing is written.
   */
  async begin(
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
    const { from, to } = GENERATION_TRANSITIONS[transition];
    const { chargedMicros, errorCode, authorizedAtMs, deliveredAtMs, finishedAtMs } = ending;
    // What failed for nothing is made anew by whoever sends it again.
    const retryState = delivered > 0 ? retryStateOf(generation, ending.answered) : null;
    const state = {
      ...{ status: to, from, imagesDelivered: delivered, leaseExpiresAtMs: finishedAtMs },
      ...{ chargedMicros, errorCode, authorizedAtMs, deliveredAtMs, finishedAtMs, retryState },
    };
    const tasks = ending.results.map(toEnded);
    const values = [generation.accountId, generation.id, ...stateValues(state, tasks)];
    const finished = await this.run(FINISH, values);
    // It is finished already, or its row was never written.
    if (finished.length === 0) await this.save(generation, state, tasks);
  }

  /** Leaves it to recovery, which may begin at once; `results` tell which tasks are to be asked for. */
  async lose(
    generation: Generation,
    errorCode: string,
    authorizedAtMs: number,
    results: readonly TaskResult[],
    nowMs: number,
  ): Promise<void> {
    const { from, to } = GENERATION_TRANSITIONS.lose;
    const begun = running(generation, authorizedAtMs, nowMs);
    const state = { ...begun, leaseExpiresAtMs: nowMs, errorCode, status: to, from };
    const tasks = results.flatMap(({ task, ...rest }) => (task === null ? [] : [{ ...rest, task }]));
    await this.save(
      generation,
      state,
      tasks.map((known) => toPending(known, nowMs)),
    );
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

  /** Forgets the idempotency keys of finished generations made before `timeMs`. Answers how many. */
  async forgetKeys(timeMs: number, limit: number): Promise<number> {
    return (await this.run(FORGET_KEYS, [iso(timeMs), limit])).length;
  }

  private async save(generation: Generation, state: State, tasks: readonly TaskState[]): Promise<boolean> {
    const values = [...fixedValues(generation), ...stateValues(state, tasks)];
    return (await this.run(SAVE, values)).length > 0;
  }

  private run<Row>(statement: Statement, values: readonly SqlValue[]): Promise<Row[]> {
    return runStatement(this.dataSource, statement, values);
  }
}

/** In the order of the columns that every insert begins with. */
function fixedValues(generation: Generation): SqlValue[] {
  return [
    generation.accountId,
    generation.id,
    generation.apiKeyId,
    generation.requestId,
    generation.model,
    generation.priceId,
    generation.priceMicros.toString(),
    generation.imagesRequested,
    generation.width,
    generation.height,
    generation.responseFormat,
    generation.outputFormat,
    generation.endUser,
    generation.fingerprint,
    generation.idempotencyKey,
    generation.mediaKeyId,
    generation.holdId,
    iso(generation.createdAtMs),
    generation.providerKeyId,
    generation.fellBackFrom,
    generation.operation,
    generation.referencesCount,
    generation.tag,
  ];
}

/** As `SAVE` and `FINISH` take them, behind the values that name or make the row. */
function stateValues(state: State, tasks: readonly TaskState[]): SqlValue[] {
  const column = (value: (task: TaskState) => string | number | null) => tasks.map(value);
  return [
    iso(state.leaseExpiresAtMs),
    state.status,
    state.imagesDelivered,
    state.chargedMicros.toString(),
    state.errorCode,
    isoOrNull(state.authorizedAtMs),
    isoOrNull(state.deliveredAtMs),
    isoOrNull(state.finishedAtMs),
    state.from,
    column((task) => task.position),
    column((task) => task.attempt),
    column((task) => task.provider),
    column((task) => task.task?.taskId ?? null),
    column((task) => task.task?.pollingUrl ?? null),
    column((task) => task.task?.costMicros?.toString() ?? null),
    column((task) => task.status),
    column((task) => task.failure),
    column((task) => task.bytes),
    column((task) => iso(task.createdAtMs)),
    column((task) => isoOrNull(task.finishedAtMs)),
    state.retryState,
  ];
}

function running(generation: Generation, authorizedAtMs: number, nowMs: number): State {
  return {
    status: 'running',
    from: OPEN_STATUSES,
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
function retryStateOf({ joinable }: Generation, answered?: boolean): RetryState | null {
  if (!joinable || answered === true) return null;
  return answered === false ? 'abandoned' : 'open';
}

function toPending({ position, attempt, provider, task }: KnownTask, nowMs: number): TaskState {
  const unknown = { bytes: null, failure: null, finishedAtMs: null };
  return { position, attempt, provider, task, status: 'pending', createdAtMs: nowMs, ...unknown };
}

function toEnded(result: TaskResult): TaskState {
  const status = result.failure === null ? 'delivered' : 'failed';
  return { ...result, status, createdAtMs: result.finishedAtMs };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function isoOrNull(ms: number | null): string | null {
  return ms === null ? null : iso(ms);
}
