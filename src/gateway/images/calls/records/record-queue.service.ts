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
import {
  PacketDeadline,
  PacketTimeoutError,
  runTogether,
  type SqlValue,
  type Statement,
  type StatementCall,
} from '../../../../platform/database/pipeline.js';
import { DatabaseUnavailableError } from '../../../../platform/errors/common.errors.js';
import { GENERATION_TRANSITIONS, OPEN_STATUSES, type GenerationStatus } from '../generation.machine.js';
import type { Generation, RetryState, TaskResult } from './generation.js';

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
export class RecordQueueService implements OnApplicationShutdown {
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

/** The part of a generation's row that changes. */
export type GenerationState = {
  readonly status: GenerationStatus;
  readonly leaseExpiresAtMs: number;
  readonly imagesDelivered: number;
  readonly chargedMicros: bigint;
  readonly errorCode: string | null;
  readonly authorizedAtMs: number | null;
  readonly deliveredAtMs: number | null;
  readonly finishedAtMs: number | null;
  readonly retryState: RetryState | null;
};

export type TaskState = Omit<TaskResult, 'finishedAtMs'> & {
  readonly status: 'pending' | 'delivered' | 'failed';
  readonly createdAtMs: number;
  readonly finishedAtMs: number | null;
};

/**
 * `claim` makes the row, unless another generation of the account has its idempotency key. `save` writes a generation's state and its
 * tasks; the first save makes the row, and no save leaves a final state.
 */
export type RecordWrite = {
  readonly type: 'claim' | 'save';
  readonly generation: Generation;
  readonly state: GenerationState;
  readonly tasks: readonly TaskState[];
};

/** For each status, the statuses from which a row may change to it. */
const ALLOWED_FROM: Readonly<Record<GenerationStatus, readonly GenerationStatus[]>> = {
  running: OPEN_STATUSES,
  unresolved: GENERATION_TRANSITIONS.lose.from,
  succeeded: GENERATION_TRANSITIONS.deliver.from,
  failed: GENERATION_TRANSITIONS.fail.from,
};

const MAY_CHANGE = Object.entries(ALLOWED_FROM)
  .map(([to, from]) => `excluded.status = '${to}' AND g.status IN (${from.map((s) => `'${s}'`).join(', ')})`)
  .join(' OR ');

type Column<Row> = readonly [name: string, type: string, value: (row: Row) => string | number | null];

const GENERATION_COLUMNS: readonly Column<RecordWrite>[] = [
  ['account_id', 'text', ({ generation }) => generation.accountId],
  ['id', 'text', ({ generation }) => generation.id],
  ['api_key_id', 'text', ({ generation }) => generation.apiKeyId],
  ['request_id', 'text', ({ generation }) => generation.requestId],
  ['model', 'text', ({ generation }) => generation.model],
  ['price_id', 'text', ({ generation }) => generation.priceId],
  ['price_micros', 'bigint', ({ generation }) => generation.priceMicros.toString()],
  ['images_requested', 'smallint', ({ generation }) => generation.imagesRequested],
  ['width', 'integer', ({ generation }) => generation.width],
  ['height', 'integer', ({ generation }) => generation.height],
  ['response_format', 'text', ({ generation }) => generation.responseFormat],
  ['output_format', 'text', ({ generation }) => generation.outputFormat],
  ['end_user', 'text', ({ generation }) => generation.endUser],
  ['fingerprint', 'text', ({ generation }) => generation.fingerprint],
  ['idempotency_key', 'text', ({ generation }) => generation.idempotencyKey],
  ['media_key_id', 'text', ({ generation }) => generation.mediaKeyId],
  ['hold_id', 'text', ({ generation }) => generation.holdId],
  ['created_at', 'timestamptz', ({ generation }) => iso(generation.createdAtMs)],
  ['provider_key_id', 'text', ({ generation }) => generation.providerKeyId],
  ['fell_back_from', 'text', ({ generation }) => generation.fellBackFrom],
  ['operation', 'text', ({ generation }) => generation.operation],
  ['references_count', 'smallint', ({ generation }) => generation.referencesCount],
  ['tag', 'text', ({ generation }) => generation.tag],
  ['last_attempt', 'smallint', ({ generation }) => generation.attempt],
  ['lease_expires_at', 'timestamptz', ({ state }) => iso(state.leaseExpiresAtMs)],
  ['status', 'text', ({ state }) => state.status],
  ['images_delivered', 'smallint', ({ state }) => state.imagesDelivered],
  ['charged_micros', 'bigint', ({ state }) => state.chargedMicros.toString()],
  ['error_code', 'text', ({ state }) => state.errorCode],
  ['authorized_at', 'timestamptz', ({ state }) => isoOrNull(state.authorizedAtMs)],
  ['delivered_at', 'timestamptz', ({ state }) => isoOrNull(state.deliveredAtMs)],
  ['finished_at', 'timestamptz', ({ state }) => isoOrNull(state.finishedAtMs)],
  ['retry_state', 'text', ({ state }) => state.retryState],
];

type TaskRow = { readonly generation: Generation; readonly task: TaskState };

const TASK_COLUMNS: readonly Column<TaskRow>[] = [
  ['account_id', 'text', ({ generation }) => generation.accountId],
  ['generation_id', 'text', ({ generation }) => generation.id],
  ['position', 'smallint', ({ task }) => task.position],
  ['attempt', 'smallint', ({ task }) => task.attempt],
  ['provider', 'text', ({ task }) => task.provider],
  ['task_id', 'text', ({ task }) => task.task?.taskId ?? null],
  ['polling_url', 'text', ({ task }) => task.task?.pollingUrl ?? null],
  ['upstream_cost_micros', 'bigint', ({ task }) => task.task?.costMicros?.toString() ?? null],
  ['status', 'text', ({ task }) => task.status],
  ['failure', 'text', ({ task }) => task.failure],
  ['bytes', 'integer', ({ task }) => task.bytes],
  ['created_at', 'timestamptz', ({ task }) => iso(task.createdAtMs)],
  ['finished_at', 'timestamptz', ({ task }) => isoOrNull(task.finishedAtMs)],
  ['image_format', 'text', ({ task }) => task.format],
];

/**
 * `synchronous_commit` is off, so these commits do not wait for a flush of the log, which saves two of four flushes of every paid
 * call. No money depends on them alone: a row is either flushed by the later commit of the hold or the capture, or recovery derives
 * it again from the hold and the files after the database has crashed.
 *
 * `enable_seqscan` is off because a connection keeps the plans by which foreign keys are checked. A plan that was made while the
 * tables were almost empty would read a whole table for every row until the statistics are updated.
 */
const SETTINGS = `(SELECT set_config('synchronous_commit', 'off', true), set_config('enable_seqscan', 'off', true),
           set_config('lock_timeout', $1, true)) AS settings`;

const columnNames = (columns: readonly Column<never>[]): string => columns.map(([name]) => name).join(', ');

/** Passes the rows as one array for each column, beginning with parameter `first`. */
function arraysFrom(columns: readonly Column<never>[], first: number): string {
  const arrays = columns.map(([, type], index) => `$${first + index}::${type}[]`);
  return `unnest(${arrays.join(', ')}) AS v (${columnNames(columns)})`;
}

/** Passes one row as plain parameters, because arrays would cost the server a third more for a single write. */
function oneRow(columns: readonly Column<never>[], first: number): string {
  const values = columns.map(([, type], index) => `$${first + index}::${type}`);
  return `(SELECT ${values.join(', ')}) AS v (${columnNames(columns)})`;
}

const insertSql = (rows: string): string => `
    INSERT INTO generations AS g (${columnNames(GENERATION_COLUMNS)})
    SELECT v.* FROM ${SETTINGS}, ${rows}`;

/** The unique index accepts one of any number of copies, even when they are in one statement. */
const claimSql = (rows: string): string => `${insertSql(rows)}
  ON CONFLICT (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL AND status <> 'failed' DO NOTHING
  RETURNING account_id, id`;

/**
 * Writes a generation's state and its tasks in one statement, so that no reader sees one without the other.
 * `lease_expires_at`: a suspended server process may commit a write late that was repeated long ago; it must not make a running call
 * look dead. `retry_state`: null ends it, an open attempt whose client has disconnected becomes abandoned, and a retry keeps its claim.
 */
const saveSql = (rows: string): string => `
  WITH saved AS (${insertSql(rows)}
    ON CONFLICT ON CONSTRAINT generations_pkey DO UPDATE
       SET lease_expires_at = CASE
             WHEN excluded.status = 'running' THEN greatest(g.lease_expires_at, excluded.lease_expires_at)
             ELSE excluded.lease_expires_at END,
           status = excluded.status,
           images_delivered = excluded.images_delivered, charged_micros = excluded.charged_micros,
           error_code = excluded.error_code, authorized_at = coalesce(excluded.authorized_at, g.authorized_at),
           delivered_at = excluded.delivered_at, finished_at = excluded.finished_at,
           retry_state = CASE
             WHEN excluded.retry_state IS NULL THEN NULL
             WHEN excluded.retry_state = 'abandoned' AND g.retry_state = 'open' THEN 'abandoned'
             ELSE g.retry_state END
     WHERE ${MAY_CHANGE}
    RETURNING g.account_id, g.id),
  saved_tasks AS (
    INSERT INTO generation_tasks AS t (${columnNames(TASK_COLUMNS)})
    SELECT v.* FROM saved
      JOIN ${arraysFrom(TASK_COLUMNS, GENERATION_COLUMNS.length + 2)}
        ON v.account_id = saved.account_id AND v.generation_id = saved.id
    ON CONFLICT ON CONSTRAINT generation_tasks_pkey DO UPDATE
       SET status = excluded.status, failure = excluded.failure, bytes = excluded.bytes,
           finished_at = excluded.finished_at, image_format = excluded.image_format
     WHERE t.status = 'pending')
  SELECT account_id, id FROM saved`;

const ONE = oneRow(GENERATION_COLUMNS, 2);
const MANY = arraysFrom(GENERATION_COLUMNS, 2);
const CLAIM_ONE: Statement = { name: 'generation_claim', text: claimSql(ONE) };
const CLAIM_MANY: Statement = { name: 'generation_claims', text: claimSql(MANY) };
const SAVE_ONE: Statement = { name: 'generation_save', text: saveSql(ONE) };
const SAVE_MANY: Statement = { name: 'generation_saves', text: saveSql(MANY) };

/** This is a separate statement, so that its snapshot includes what was committed while the claim before it waited. */
const OWN_CLAIMS: Statement = {
  name: 'generation_own_claims',
  text: `
  SELECT g.account_id, g.id FROM unnest($1::text[], $2::text[]) AS v (account_id, id)
    JOIN generations g ON g.account_id = v.account_id AND g.id = v.id AND g.status = 'running'`,
};

type Filled = Required<StatementCall>;

/**
 * Returns the statements of one packet, which the server runs as one tx. Claims come first, and the rows of each statement are
 * ordered by the key or row that they lock; no process saves a row whose claim is not committed. So two processes never deadlock.
 * No generation may occur twice in `writes`.
 *
 * @param lockTimeoutMs how long the server waits for each lock.
 * @param isRepeat an earlier packet with the same writes may have been committed. A repeated save changes nothing, or writes the same
 *   again. A repeated claim would take its own row for that of a copy, so a claim also succeeds when its own row exists.

 */
export function statementsFor(
  writes: readonly RecordWrite[],
  lockTimeoutMs: number,
  isRepeat = false,
): StatementCall[] {
  const claims = sorted(writes, 'claim', ({ generation }) => generation.idempotencyKey ?? '');
  const saves = sorted(writes, 'save', ({ generation }) => generation.id);
  const limited = ({ statement, values }: Filled): Filled => ({
    statement,
    values: [`${lockTimeoutMs}ms`, ...values],
  });
  const own = isRepeat ? ownClaimCalls(claims) : [];
  return [...claimCalls(claims).map(limited), ...own, ...saveCalls(saves).map(limited)];
}

function ownClaimCalls(claims: readonly RecordWrite[]): Filled[] {
  if (claims.length === 0) return [];
  const columns = (['accountId', 'id'] as const).map((name) =>
    claims.map(({ generation }) => generation[name]),
  );
  return [{ statement: OWN_CLAIMS, values: columns }];
}

function claimCalls(claims: readonly RecordWrite[]): Filled[] {
  if (claims.length === 0) return [];
  const statement = claims.length === 1 ? CLAIM_ONE : CLAIM_MANY;
  return [{ statement, values: rowValues(claims) }];
}

function saveCalls(saves: readonly RecordWrite[]): Filled[] {
  if (saves.length === 0) return [];
  const statement = saves.length === 1 ? SAVE_ONE : SAVE_MANY;
  const tasks = saves.flatMap(({ generation, tasks: own }) => own.map((task) => ({ generation, task })));
  return [{ statement, values: [...rowValues(saves), ...arrayValues(TASK_COLUMNS, tasks)] }];
}

function sorted(
  writes: readonly RecordWrite[],
  type: RecordWrite['type'],
  toLockedKey: (write: RecordWrite) => string,
): RecordWrite[] {
  // Account ids hold no newline, so the joined name is unambiguous.
  const toSortKey = (write: RecordWrite): string => `${write.generation.accountId}\n${toLockedKey(write)}`;
  return writes
    .filter((write) => write.type === type)
    .map((write) => ({ write, order: toSortKey(write) }))
    .sort((a, b) => (a.order < b.order ? -1 : 1))
    .map(({ write }) => write);
}

function rowValues(writes: readonly RecordWrite[]): SqlValue[] {
  const [only] = writes;
  if (only === undefined || writes.length > 1) return arrayValues(GENERATION_COLUMNS, writes);
  return GENERATION_COLUMNS.map(([, , value]) => value(only));
}

function arrayValues<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): SqlValue[] {
  return columns.map(([, , value]) => rows.map(value));
}

export function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function isoOrNull(ms: number | null): string | null {
  return ms === null ? null : iso(ms);
}
