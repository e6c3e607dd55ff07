import type { Snapshot } from '../../platform/database/snapshot.js';
import type { Report } from './proof/discrepancy.js';
import { reportAll } from './proof/prove-rows.js';

/** A day is booked in the hours after its end. What is older than this was not. */
const BOOKED_WITHIN = `interval '2 days'`;

/** What the tasks of each day and provider cost us is in our own book to the micro-dollar, once. */
const ACCRUALS = `
  SELECT 'transfers', 'account_id=acct_platform reference=upstream_cost:' || day || ':' || provider, 'amount_micros',
         coalesce(c.cost, 0)::text, coalesce(t.booked, 0)::text
    FROM (SELECT (created_at AT TIME ZONE 'UTC')::date::text AS day, provider, sum(upstream_cost_micros) AS cost
            FROM generation_tasks WHERE upstream_cost_micros > 0 GROUP BY 1, 2) c
    FULL JOIN (SELECT split_part(reference, ':', 2) AS day, split_part(reference, ':', 3) AS provider,
                      sum(amount_micros) AS booked, max(created_at) AS booked_at
                 FROM transfers WHERE account_id = 'acct_platform' AND kind = 'upstream_cost' GROUP BY 1, 2) t
         USING (day, provider)
   WHERE coalesce(t.booked, 0) > coalesce(c.cost, 0)
      OR (coalesce(t.booked, 0) < c.cost AND (day::date + 1) AT TIME ZONE 'UTC' < now() - ${BOOKED_WITHIN})`;

/** What providers charged us, derived again from every image that was asked of them. */
export async function proveUpstreamCosts(snapshot: Snapshot, report: Report): Promise<void> {
  await reportAll(snapshot, ACCRUALS, report);
}
