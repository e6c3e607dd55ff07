import type { Statement } from '../../database/pipeline.js';

/** What never changes, in the order of `fixedValues`; $1 to $23. */
const FIXED_COLUMNS = `
  account_id, id, api_key_id, request_id, model, price_id, price_micros, images_requested, width, height,
  response_format, output_format, end_user, fingerprint, idempotency_key, media_key_id, hold_id, created_at,
  provider_key_id, fell_back_from, operation, references_count, tag`;
const FIXED_VALUES =
  '$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23';

/**
 * These commits are not waited for: no flush of the log of their own. Nothing rests on them alone. A row that the
 * database loses in a crash is either flushed by the hold's or the capture's own commit, which come after
 * it and are waited for, or it is what recovery derives again from the hold and the files. It takes two of
 * four flushes off every paid call.
 */
const NO_FLUSH = `set_config('synchronous_commit', 'off', true)`;

/** The unique index lets one of any number of copies through. */
export const INSERT: Statement = {
  name: 'generation_insert',
  text: `
  INSERT INTO generations (${FIXED_COLUMNS}, lease_expires_at, status)
  VALUES (${FIXED_VALUES}, $24, 'running')
  ON CONFLICT (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL AND status <> 'failed' DO NOTHING
  RETURNING id, ${NO_FLUSH}`,
};

/** Null ends it, and news of a client that is gone is kept; what a retry has claimed stays its. */
const nextRetryState = (told: string): string => `
             CASE WHEN ${told} IS NULL THEN NULL
                  WHEN ${told} = 'abandoned' AND g.retry_state = 'open' THEN 'abandoned'
                  ELSE g.retry_state END`;

/** The tasks of `saved`, from eleven arrays, the first of which is parameter `first`. */
function savedTasks(first: number): string {
  const types = 'smallint smallint text text text bigint text text integer timestamptz timestamptz'.split(
    ' ',
  );
  const columns = types.map((type, index) => `$${first + index}::${type}[]`).join(', ');
  return `saved_tasks AS (
    INSERT INTO generation_tasks AS t (account_id, generation_id, position, attempt, provider, task_id, polling_url,
                                       upstream_cost_micros, status, failure, bytes, created_at, finished_at)
    SELECT saved.account_id, saved.id, v.* FROM saved, unnest(${columns}) AS v
    ON CONFLICT ON CONSTRAINT generation_tasks_pkey DO UPDATE
       SET status = excluded.status, failure = excluded.failure, bytes = excluded.bytes,
           finished_at = excluded.finished_at
     WHERE t.status = 'pending')`;
}

/**
 * A generation's state and its tasks in one statement: one commit, and nobody sees the one without the
 * other. Whatever comes first makes the row; a final state is never left again.
 */
export const SAVE: Statement = {
  name: 'generation_save',
  text: `
  WITH saved AS (
    INSERT INTO generations AS g (${FIXED_COLUMNS}, lease_expires_at, status, images_delivered, charged_micros,
                                  error_code, authorized_at, delivered_at, finished_at, retry_state)
    VALUES (${FIXED_VALUES}, $24, $25, $26, $27, $28, $29, $30, $31, $44)
    ON CONFLICT ON CONSTRAINT generations_pkey DO UPDATE
       SET lease_expires_at = excluded.lease_expires_at, status = excluded.status,
           images_delivered = excluded.images_delivered, charged_micros = excluded.charged_micros,
           error_code = excluded.error_code, authorized_at = coalesce(excluded.authorized_at, g.authorized_at),
           delivered_at = excluded.delivered_at, finished_at = excluded.finished_at,
           retry_state = ${nextRetryState('excluded.retry_state')}
     WHERE g.status = ANY($32::text[])
    RETURNING g.account_id, g.id),
  ${savedTasks(33)}
  SELECT id, ${NO_FLUSH} FROM saved`,
};

/** `SAVE` for a row that is there, which is every row but those whose beginning could not be written: half as much work. */
export const FINISH: Statement = {
  name: 'generation_finish',
  text: `
  WITH saved AS (
    UPDATE generations g
       SET lease_expires_at = $3, status = $4, images_delivered = $5, charged_micros = $6, error_code = $7,
           authorized_at = coalesce($8, g.authorized_at), delivered_at = $9, finished_at = $10,
           retry_state = ${nextRetryState('$23::text')}
     WHERE g.account_id = $1 AND g.id = $2 AND g.status = ANY($11::text[])
    RETURNING g.account_id, g.id),
  ${savedTasks(12)}
  SELECT id, ${NO_FLUSH} FROM saved`,
};

export const RENEW: Statement = {
  name: 'generation_renew',
  text: `
  UPDATE generations g SET lease_expires_at = $3
    FROM unnest($1::text[], $2::text[]) AS live (account_id, id)
   WHERE g.account_id = live.account_id AND g.id = live.id AND g.status = 'running'`,
};

/** Recovering processes share the work; each takes what no other one is taking. */
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

export const FORGET_KEYS: Statement = {
  name: 'generation_forget_keys',
  text: `
  UPDATE generations SET idempotency_key = NULL
   WHERE (account_id, id) IN (SELECT account_id, id FROM generations
                               WHERE idempotency_key IS NOT NULL AND created_at < $1
                                 AND status IN ('succeeded', 'failed')
                               ORDER BY created_at LIMIT $2)
  RETURNING id`,
};
