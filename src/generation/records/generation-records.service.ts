import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { GENERATION_TRANSITIONS, type GenerationTransition } from '../generation.machine.js';
import type { Ending, Generation, GenerationKey, KnownTask, TaskResult } from './generation.js';

/** Without a sign of life for this long, whoever ran the call is dead. Signs come every `LEASE_RENEWAL_MS`. */
export const LEASE_MS = 30_000;

const INSERT = `
  INSERT INTO generations (account_id, id, api_key_id, request_id, model, price_id, price_micros, images_requested,
                           width, height, response_format, output_format, end_user, fingerprint, idempotency_key,
                           media_key_id, hold_id, created_at, status, lease_expires_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 'running', $19)
  ON CONFLICT (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL AND status <> 'failed' DO NOTHING
  RETURNING id`;

const INSERT_TASK = `
  INSERT INTO generation_tasks (account_id, generation_id, position, attempt, provider, task_id, polling_url,
                                upstream_cost_micros, created_at, status)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'pending')
  ON CONFLICT ON CONSTRAINT generation_tasks_pkey DO NOTHING`;

/** The outcome and its images in one statement: one commit, and nobody sees the one without the other. */
const FINISH = `
  WITH ended AS (
    UPDATE generations SET status = $3, images_delivered = $4, charged_micros = $5, error_code = $6,
           authorized_at = coalesce($7, authorized_at), delivered_at = $8, finished_at = $9
     WHERE account_id = $1 AND id = $2 AND status = ANY($10::text[])
    RETURNING account_id, id)
  INSERT INTO generation_tasks (account_id, generation_id, position, attempt, provider, task_id, polling_url,
                                upstream_cost_micros, bytes, failure, status, created_at, finished_at)
  SELECT ended.account_id, ended.id, t.position, t.attempt, t.provider, t.task_id, t.polling_url, t.cost, t.bytes,
         t.failure, CASE WHEN t.failure IS NULL THEN 'delivered' ELSE 'failed' END, t.finished_at, t.finished_at
    FROM ended, unnest($11::smallint[], $12::smallint[], $13::text[], $14::text[], $15::text[], $16::bigint[],
                       $17::integer[], $18::text[], $19::timestamptz[])
              AS t (position, attempt, provider, task_id, polling_url, cost, bytes, failure, finished_at)
  ON CONFLICT ON CONSTRAINT generation_tasks_pkey DO UPDATE
     SET status = excluded.status, bytes = excluded.bytes, failure = excluded.failure,
         finished_at = excluded.finished_at`;

const LOSE = `
  UPDATE generations SET status = $3, error_code = $4, authorized_at = $5, lease_expires_at = $6
   WHERE account_id = $1 AND id = $2 AND status = ANY($7::text[])`;

const RENEW = `
  UPDATE generations g SET lease_expires_at = $3
    FROM unnest($1::text[], $2::text[]) AS live (account_id, id)
   WHERE g.account_id = live.account_id AND g.id = live.id AND g.status = 'running'`;

/** Recovering processes share the work; each takes what no other one is taking. */
const CLAIM_DUE = `
  WITH due AS (
    SELECT account_id, id FROM generations
     WHERE status IN ('running', 'unresolved') AND lease_expires_at <= $1
     ORDER BY lease_expires_at LIMIT $3 FOR UPDATE SKIP LOCKED),
  claimed AS (
    UPDATE generations g SET lease_expires_at = $2 FROM due
     WHERE g.account_id = due.account_id AND g.id = due.id
    RETURNING g.account_id, g.id)
  SELECT account_id AS "accountId", id FROM claimed`;

const FORGET_KEYS = `
  UPDATE generations SET idempotency_key = NULL
   WHERE (account_id, id) IN (SELECT account_id, id FROM generations
                               WHERE idempotency_key IS NOT NULL AND created_at < $1 ORDER BY created_at LIMIT $2)
     AND status IN ('succeeded', 'failed')
  RETURNING id`;

/** Writes the state of generations. It decides nothing. Throws what the database throws. */
@Injectable()
export class GenerationRecords {
  constructor(private readonly dataSource: DataSource) {}

  /** False when the account's idempotency key belongs to another generation that runs or succeeded. */
  async insert(generation: Generation): Promise<boolean> {
    const g = generation;
    const rows = await this.dataSource.query<unknown[]>(INSERT, [
      g.accountId,
      g.id,
      g.apiKeyId,
      g.requestId,
      g.model,
      g.priceId,
      g.priceMicros.toString(),
      g.imagesRequested,
      g.width,
      g.height,
      g.responseFormat,
      g.outputFormat,
      g.endUser,
      g.fingerprint,
      g.idempotencyKey,
      g.mediaKeyId,
      g.holdId,
      iso(g.createdAtMs),
      iso(g.createdAtMs + LEASE_MS),
    ]);
    return rows.length > 0;
  }

  /** The generation's row must be there. Does nothing when the task's result is there already. */
  async addTask({ accountId, id }: Generation, known: KnownTask, nowMs: number): Promise<void> {
    const { position, attempt, provider, task } = known;
    await this.dataSource.query(INSERT_TASK, [
      accountId,
      id,
      position,
      attempt,
      provider,
      task.taskId,
      task.pollingUrl,
      task.costMicros?.toString() ?? null,
      iso(nowMs),
    ]);
  }

  /** Does nothing when the generation is finished already: whoever was first had the same money to go by. */
  async finish({ accountId, id }: Generation, ending: Ending): Promise<void> {
    const delivered = ending.results.filter((result) => result.failure === null).length;
    const transition: GenerationTransition = delivered > 0 ? 'deliver' : 'fail';
    const { from, to } = GENERATION_TRANSITIONS[transition];
    const column = <T>(value: (result: TaskResult) => T): T[] => ending.results.map(value);
    await this.dataSource.query(FINISH, [
      accountId,
      id,
      to,
      delivered,
      ending.chargedMicros.toString(),
      ending.errorCode,
      isoOrNull(ending.authorizedAtMs),
      isoOrNull(ending.deliveredAtMs),
      iso(ending.finishedAtMs),
      from,
      column((result) => result.position),
      column((result) => result.attempt),
      column((result) => result.provider),
      column((result) => result.task?.taskId ?? null),
      column((result) => result.task?.pollingUrl ?? null),
      column((result) => result.task?.costMicros?.toString() ?? null),
      column((result) => result.bytes),
      column((result) => result.failure),
      column((result) => iso(result.finishedAtMs)),
    ]);
  }

  /** Leaves it to recovery, which may begin at once. */
  async lose(
    { accountId, id }: Generation,
    errorCode: string,
    authorizedAtMs: number | null,
    nowMs: number,
  ): Promise<void> {
    const { from, to } = GENERATION_TRANSITIONS.lose;
    await this.dataSource.query(LOSE, [
      accountId,
      id,
      to,
      errorCode,
      isoOrNull(authorizedAtMs),
      iso(nowMs),
      from,
    ]);
  }

  async renewLeases(live: readonly GenerationKey[], nowMs: number): Promise<void> {
    await this.dataSource.query(RENEW, [
      live.map((generation) => generation.accountId),
      live.map((generation) => generation.id),
      iso(nowMs + LEASE_MS),
    ]);
  }

  /** Takes over generations that nobody works on, for `leaseMs`; oldest first. */
  async claimDue(nowMs: number, leaseMs: number, limit: number): Promise<GenerationKey[]> {
    return this.dataSource.query<GenerationKey[]>(CLAIM_DUE, [iso(nowMs), iso(nowMs + leaseMs), limit]);
  }

  /** Gives a claimed generation back; it is due again at `dueAtMs`. */
  async postpone({ accountId, id }: GenerationKey, dueAtMs: number): Promise<void> {
    await this.dataSource.query(
      'UPDATE generations SET lease_expires_at = $3 WHERE account_id = $1 AND id = $2',
      [accountId, id, iso(dueAtMs)],
    );
  }

  /** Forgets the idempotency keys of finished generations made before `timeMs`. Answers how many. */
  async forgetKeys(timeMs: number, limit: number): Promise<number> {
    const [rows] = await this.dataSource.query<[unknown[], number]>(FORGET_KEYS, [iso(timeMs), limit]);
    return rows.length;
  }
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

function isoOrNull(ms: number | null): string | null {
  return ms === null ? null : iso(ms);
}
