import type { Snapshot } from '../../platform/database/snapshot.js';
import type { Report } from './proof/discrepancy.js';
import { reportAll } from './proof/prove-rows.js';

/**
 * Everything that a key used: its holds, at the time at which they were authorized, and its debits. Holds of the
 * time before they named their key are known by the key that captured them.
 */
const USES = `
  SELECT account_id, key_id, (created_at AT TIME ZONE 'UTC')::date AS day,
         CASE status WHEN 'authorized' THEN amount_micros ELSE captured_micros END AS used_micros
    FROM holds WHERE key_id IS NOT NULL
  UNION ALL
  SELECT t.account_id, substr(t.actor, length('account_key:') + 1),
         (coalesce(h.created_at, t.created_at) AT TIME ZONE 'UTC')::date, t.amount_micros
    FROM transfers t
    LEFT JOIN holds h ON t.kind = 'capture' AND h.account_id = t.account_id AND 'capture:' || h.id = t.reference
   WHERE t.kind IN ('capture', 'debit') AND starts_with(t.actor, 'account_key:') AND h.key_id IS NULL`;

/** What a budget says is used is what the key's holds and debits add up to, each period on its own. */
const USED = `
  SELECT 'key_budgets', 'account_id=' || b.account_id || ' key_id=' || b.key_id, p.name, p.expected::text, p.found::text
    FROM (SELECT b.account_id, b.key_id, b.day, b.day_used_micros, b.month_used_micros, b.total_used_micros,
                 coalesce(max(u.day), b.day) AS last_day,
                 coalesce(sum(u.used_micros) FILTER (WHERE u.day = b.day), 0) AS in_day,
                 coalesce(sum(u.used_micros) FILTER (
                   WHERE date_trunc('month', u.day::timestamp) = date_trunc('month', b.day::timestamp)), 0) AS in_month,
                 coalesce(sum(u.used_micros), 0) AS in_total
            FROM key_budgets b LEFT JOIN (${USES}) u ON u.account_id = b.account_id AND u.key_id = b.key_id
           GROUP BY b.account_id, b.key_id, b.day, b.day_used_micros, b.month_used_micros, b.total_used_micros) b,
         LATERAL (VALUES ('day', greatest(b.last_day, b.day)::text, b.day::text),
                         ('day_used_micros', b.in_day::text, b.day_used_micros::text),
                         ('month_used_micros', b.in_month::text, b.month_used_micros::text),
                         ('total_used_micros', b.in_total::text, b.total_used_micros::text)) AS p (name, expected, found)
   WHERE p.expected <> p.found`;

/** A budget is of a key of the same account; otherwise it would limit no key. */
const OWNERS = `
  SELECT 'key_budgets', 'account_id=' || b.account_id || ' key_id=' || b.key_id, 'key_id', 'a key of the account',
         coalesce('a key of ' || coalesce(k.account_id, 'the platform'), 'none')
    FROM key_budgets b LEFT JOIN api_keys k ON k.id = b.key_id
   WHERE k.account_id IS DISTINCT FROM b.account_id`;

/** The budgets of API keys, derived again from the ledger and the holds. */
export async function proveKeyBudgets(snapshot: Snapshot, report: Report): Promise<void> {
  for (const sql of [USED, OWNERS]) await reportAll(snapshot, sql, report);
}
