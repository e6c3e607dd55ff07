import { chargeMemoParts } from '../../money/pricing/charge-memo.js';

/**
 * What was used, one row a transfer or a call that charged nothing: account_id, day, hour, source, model, api_key_id,
 * tag, billing_mode, error_code, calls, images, charged_micros. Every transfer and every such call is one row exactly,
 * so sums over these rows are the ledger's, whoever adds them up and when.
 */

/**
 * Charges, from the ledger (`t`). A charge that burned several lots is several transfers: its call and its images are
 * counted with the first (leg 0). The generation tells the API key and the tag; its row is written before its
 * capture, and without one the hold still tells whose it was. A hold of an outside gateway was made for a number of images, of which a part may have been captured.
 */
export function chargesWhere(condition: string): string {
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
 * Calls that charged nothing (`g`): over customers' own keys, of free models, and failed ones. `queued`, known as `q`, names
 * them. Each is looked up by itself, however many the planner expects: it must never read all receipts for a few.
 */
export function unpaidOf(queued: string, condition = 'true'): string {
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
