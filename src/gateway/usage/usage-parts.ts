import { chargeMemoParts } from '../../money/pricing/price.js';

/**
 * The queries of this file return one row for each transfer and for each call that charged nothing: account_id, day, hour, source,
 * model, api_key_id, tag, billing_mode, error_code, calls, images, charged_micros. So sums over these rows always equal those of the
 * ledger, whichever process adds them up and when.
 */

/**
 * Selects charges from the ledger (`t`). A charge from several lots is several transfers; its call and its images are counted with the
 * first (leg 0). The API key and the tag are those of the generation, whose row is written before its capture; without a generation,
 * the hold has the API key. A hold of an external gateway names a number of images, of which only a part may have been captured.
 */
export function chargesSql(condition: string): string {
  return `
  SELECT t.account_id, (t.created_at AT TIME ZONE 'UTC')::date AS day, date_trunc('hour', t.created_at, 'UTC') AS hour,
         CASE WHEN g.id IS NULL AND NOT coalesce(starts_with(h.reference, 'generation:'), false) THEN 'debits'
              ELSE 'images_api' END AS source,
         coalesce(g.model, left(m.parts[1], 200), '') AS model, coalesce(g.api_key_id, h.key_id, '') AS api_key_id,
         coalesce(g.tag, g.end_user COLLATE "C", '') AS tag, 'wallet' AS billing_mode, '' AS error_code,
         CASE t.leg WHEN 0 THEN 1 ELSE 0 END AS calls,
         CASE WHEN t.leg <> 0 OR m.parts IS NULL THEN 0
              WHEN h.id IS NULL THEN m.parts[2]::bigint
              ELSE (m.parts[2]::numeric * h.captured_micros / h.amount_micros)::bigint END AS images,
         t.amount_micros AS charged_micros
    FROM transfers t
    LEFT JOIN generations g ON t.kind = 'capture' AND g.account_id = t.account_id
                           AND g.id = 'gen_' || substr(t.reference, length('capture:hold_') + 1)
    LEFT JOIN holds h ON t.kind = 'capture' AND g.id IS NULL AND h.account_id = t.account_id
                     AND h.id = substr(t.reference, length('capture:') + 1)
   CROSS JOIN LATERAL ${chargeMemoParts('t.memo')} m
   WHERE t.kind IN ('capture', 'debit') AND ${condition}`;
}

/**
 * Selects calls that charged nothing (`g`): BYOK calls, calls of free models and failed calls. `queued` is a table expression named `q`
 * with their ids. Each call is looked up separately, whatever number the planner expects, so that it never reads all receipts for a few.
 */
export function unpaidCallsSql(queued: string, condition = 'true'): string {
  return `
  SELECT g.account_id, (g.finished_at AT TIME ZONE 'UTC')::date AS day, date_trunc('hour', g.finished_at, 'UTC') AS hour,
         'images_api' AS source, g.model, g.api_key_id, coalesce(g.tag, g.end_user COLLATE "C", '') AS tag,
         CASE WHEN g.provider_key_id IS NOT NULL THEN 'byok' WHEN g.price_micros = 0 THEN 'free' ELSE 'wallet' END AS billing_mode,
         CASE g.status WHEN 'failed' THEN g.error_code ELSE '' END AS error_code,
         1 AS calls, g.images_delivered::bigint AS images, 0::bigint AS charged_micros
    FROM ${queued}
   CROSS JOIN LATERAL (SELECT * FROM generations WHERE account_id = q.account_id AND id = q.generation_id OFFSET 0) g
   WHERE ${condition}`;
}

export const DIMENSIONS = 'account_id, day, source, model, api_key_id, tag, billing_mode, error_code';
