import type { Statement } from '../../../../platform/database/pipeline.js';

/**
 * $1 account, $2 API key, $3 fingerprint, $4 the earliest creation time, $5 now, $6 and $7 the claim and its expiry, $8 the format
 * that the call names (`acceptsFormat`).
 * An attempt whose client is known to have disconnected comes first, then the oldest. Expired claims of dead processes do not count.
 * It waits for a locked row instead of skipping it, because an attempt that is just being written is probably the one to claim.
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
 * $1 account, $2 API key, $3 fingerprint, $4 an id that is older than any call to be found, $5 the earliest end, $6 and $7 the claim
 * and its expiry, $8 the format, $9 the number of the retry, $10 the latest end for which an SDK may have sent a retry by now.
 * Finds answers that were sent to attempts with smaller numbers. Those that are old enough for an SDK to have waited come first,
 * newest first. A locked row is skipped, because another retry is claiming it.
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
 * Finds what a retry may have to wait for. The parameters are those of `CLAIM`, except that $6 are the ids of the running attempts in
 * its own process and $7 is the format. `unwritten` is the oldest hold for the call without a row, `held` are all open holds.
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

/** $4 is the attempt's new state for the next retry; null when this retry, whose number is $5, has received the answer. */
export const END_CLAIM: Statement = {
  name: 'retry_end_claim',
  text: `
  UPDATE generations SET retry_state = $4,
         last_attempt = CASE WHEN $4::text IS NULL THEN greatest(last_attempt, $5::smallint) ELSE last_attempt END
   WHERE account_id = $1 AND id = $2 AND retry_state = 'claimed' AND retry_claim = $3`,
};

/** Ends an attempt whose own client was still reading. A retry that has claimed it in the meantime keeps it. */
export const END_ANSWER: Statement = {
  name: 'retry_end_answer',
  text: `UPDATE generations SET retry_state = $3 WHERE account_id = $1 AND id = $2 AND retry_state = 'open'`,
};

/** Makes an answered attempt claimable again, because the connection ended shortly after the answer. */
export const MARK_ABANDONED: Statement = {
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
