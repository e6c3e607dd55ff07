import type { Snapshot } from '../../platform/database/snapshot.js';
import type { Report } from './proof/discrepancy.js';
import { reportAll } from './proof/prove-rows.js';

/** What is added up for an account and a day is what its ledger was charged in that day, as far as it is added up. */
const CHARGES = `
  SELECT 'usage_days', 'account_id=' || account_id || ' day=' || day, 'charged_micros',
         coalesce(t.charged, 0)::text, coalesce(u.charged, 0)::text
    FROM (SELECT t.account_id, (t.created_at AT TIME ZONE 'UTC')::date AS day, sum(t.amount_micros) AS charged
            FROM transfers t JOIN usage_progress p ON p.account_id = t.account_id AND t.seq <= p.seq
           WHERE t.kind IN ('capture', 'debit') GROUP BY 1, 2) t
    FULL JOIN (SELECT account_id, day, sum(charged_micros) AS charged FROM usage_days
                GROUP BY 1, 2 HAVING sum(charged_micros) > 0) u
         USING (account_id, day)
   WHERE t.charged IS DISTINCT FROM u.charged`;

/** And no account is added up further than its ledger reaches. */
const PROGRESS = `
  SELECT 'usage_progress', 'account_id=' || p.account_id, 'seq', 'at most ' || coalesce(w.seq, 0), p.seq::text
    FROM usage_progress p LEFT JOIN wallets w ON w.account_id = p.account_id
   WHERE p.seq > coalesce(w.seq, 0)`;

/** Calls that charged nothing: each that ended is counted in its day or is queued, and none is both. */
const UNPAID = `
  SELECT 'usage_days', 'account_id=' || account_id || ' day=' || day, 'calls',
         coalesce(g.calls, 0) || ' calls and ' || coalesce(g.images, 0) || ' images that cost nothing',
         coalesce(u.calls, 0) || ' calls and ' || coalesce(u.images, 0) || ' images'
    FROM (SELECT account_id, (finished_at AT TIME ZONE 'UTC')::date AS day, count(*) AS calls, sum(images_delivered) AS images
            FROM generations g
           WHERE charged_micros = 0 AND finished_at IS NOT NULL
             AND NOT EXISTS (SELECT FROM usage_queue q WHERE q.account_id = g.account_id AND q.generation_id = g.id)
           GROUP BY 1, 2) g
    FULL JOIN (SELECT account_id, day, sum(calls) AS calls, sum(images) AS images FROM usage_days
                WHERE billing_mode <> 'wallet' OR error_code <> '' GROUP BY 1, 2) u
         USING (account_id, day)
   WHERE (coalesce(g.calls, 0), coalesce(g.images, 0)) <> (coalesce(u.calls, 0), coalesce(u.images, 0))`;

/** What is shown as usage, derived again from the ledger and from every call. */
export async function proveUsage(snapshot: Snapshot, report: Report): Promise<void> {
  for (const sql of [CHARGES, PROGRESS, UNPAID]) await reportAll(snapshot, sql, report);
}
