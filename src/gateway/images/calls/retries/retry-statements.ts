import type { Statement } from '../../../../platform/database/pipeline.js';

/**
 * $1 account, $2 API key, $3 fingerprint, $4 the oldest attempt that counts, $5 now, $6 and $7 the claim and its end, $8
 * the format that the call names (`acceptsFormat`).
 * An attempt whose client is known to be gone comes first, then the oldest. Claims of dead processes are over. It waits
 * for a locked row instead of skipping it: an attempt that is just being written down is the very one to be taken.
 */
export const CLAIM: Statement = {
  name: 'retry_claim',
  text: `
  WITH earlier AS (
    SELECT account_id, id FROM generations
     WHERE account_id = $1 AND api_key_id = $2 AND fingerprint = $3 AND retry_state IS NOT NULL AND created_at >= $4
       AND ($8::text IS NULL OR output_format = $8) AND (retry_state <> 'claimed' OR retry_claim_expires_at <= $5)
     ORDER BY retry_state = 'open', id LIMIT 1 FOR UPDATE)
  UPDATE generations g SET retry_state = 'claimed', retry_claim = $6, retry_claim_expires_at = $7
    FROM earlier WHERE g.account_id = earlier.account_id AND g.id = earlier.id
  RETURNING g.id`,
};

/**
 * $1 account, $2 API key, $3 fingerprint, $4 an id that is older than any call that may count, $5 since when it must have been
 * answered, $6 and $7 the claim and its end, $8 the format, $9 which attempt asks, $10 by when an SDK has waited.
 * Answers that were handed over: of an earlier attempt, and to no retry of this number. The newest comes first of those that
 * an SDK can have lost by now: it waits before it sends a call again. A locked one is being taken by another retry.
 */
export const CLAIM_ANSWERED: Statement = {
  name: 'retry_claim_answered',
  text: `
  WITH answered AS (
    SELECT account_id, id FROM generations
     WHERE account_id = $1 AND id >= $4 AND api_key_id = $2 AND fingerprint = $3 AND status = 'succeeded'
       AND finished_at >= $5 AND retry_state IS NULL AND last_attempt < $9 AND images_deleted_at IS NULL
       AND ($8::text IS NULL OR output_format = $8)
     ORDER BY finished_at > $10, finished_at DESC, id LIMIT 1 FOR UPDATE SKIP LOCKED)
  UPDATE generations g SET retry_state = 'claimed', retry_claim = $6, retry_claim_expires_at = $7, last_attempt = $9
    FROM answered WHERE g.account_id = answered.account_id AND g.id = answered.id
  RETURNING g.id`,
};

/**
 * What else a retry may have to wait for; $6 are the ids of attempts under way in its own process, $7 the format.
 * `unwritten` is the oldest hold of such a call whose row is not there, `held` are all that are open.
 */
export const OUTLOOK: Statement = {
  name: 'retry_outlook',
  text: `
  WITH attempts AS (
    SELECT retry_state, retry_claim_expires_at FROM generations
     WHERE account_id = $1 AND api_key_id = $2 AND fingerprint = $3 AND retry_state IS NOT NULL AND created_at >= $4
       AND ($7::text IS NULL OR output_format = $7))
  SELECT EXISTS (SELECT FROM attempts
                  WHERE retry_state <> 'claimed' OR retry_claim_expires_at <= $5) AS claimable,
         (SELECT max(retry_claim_expires_at) FROM attempts WHERE retry_claim_expires_at > $5) AS "claimedUntil",
         (SELECT count(*)::int FROM generations WHERE account_id = $1 AND id = ANY($6::text[])) AS written,
         unwritten.id AS "holdId", unwritten.created_at AS "heldAt",
         ARRAY(SELECT h.id FROM holds h
                WHERE h.account_id = $1 AND h.key_id = $2 AND h.status = 'authorized' AND h.fingerprint = $3) AS held
    FROM (SELECT) AS always
    LEFT JOIN LATERAL (
      SELECT h.id, h.created_at FROM holds h
       WHERE h.account_id = $1 AND h.key_id = $2 AND h.status = 'authorized' AND h.fingerprint = $3
         AND h.reference LIKE 'generation:%' AND h.created_at >= $4
         AND NOT EXISTS (SELECT FROM generations g
                          WHERE g.account_id = $1 AND g.id = substr(h.reference, length('generation:') + 1))
       ORDER BY h.created_at LIMIT 1) AS unwritten ON true`,
};

export const RENEW_CLAIM: Statement = {
  name: 'retry_renew_claim',
  text: `
  UPDATE generations SET retry_claim_expires_at = $4
   WHERE account_id = $1 AND id = $2 AND retry_state = 'claimed' AND retry_claim = $3`,
};

/** $4: what the attempt is for the next retry; null when this one, whose number is $5, has its answer. */
export const END_CLAIM: Statement = {
  name: 'retry_end_claim',
  text: `
  UPDATE generations SET retry_state = $4,
         last_attempt = CASE WHEN $4::text IS NULL THEN greatest(last_attempt, $5::smallint) ELSE last_attempt END
   WHERE account_id = $1 AND id = $2 AND retry_state = 'claimed' AND retry_claim = $3`,
};

/** The attempt's own client read slowly, and is done. A retry that has it by now keeps it. */
export const END_ANSWER: Statement = {
  name: 'retry_end_answer',
  text: `UPDATE generations SET retry_state = $3 WHERE account_id = $1 AND id = $2 AND retry_state = 'open'`,
};

/** The connection ended right behind the answer: a retry shall find it after all. */
export const DOUBT: Statement = {
  name: 'retry_doubt',
  text: `
  UPDATE generations SET retry_state = 'abandoned'
   WHERE account_id = $1 AND id = $2 AND status = 'succeeded' AND retry_state IS NULL AND idempotency_key IS NULL`,
};

export const FORGET: Statement = {
  name: 'retry_forget',
  text: `
  UPDATE generations SET retry_state = NULL
   WHERE (account_id, id) IN (SELECT account_id, id FROM generations
                               WHERE retry_state IS NOT NULL AND created_at < $1 AND status = 'succeeded' LIMIT $2)
  RETURNING id`,
};
