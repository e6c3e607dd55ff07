import type { Statement } from '../../../../platform/database/pipeline.js';

/**
 * Skips locked rows: another write has the lock, and three renewals may fail. It never waits for a row, so it cannot deadlock with a
 * batch of `RecordQueue`, in whatever order the server finds the rows.
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
