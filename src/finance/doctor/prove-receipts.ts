import type { Snapshot } from '../../ledger/snapshot.js';
import type { Report } from '../../wallets/proof/discrepancy.js';
import { reportAll } from '../../wallets/proof/prove-rows.js';

/**
 * A top-up and a generation are settled in the wallet first and written down second; a crash in between is
 * mended by a job within minutes. What is older than this was not mended.
 */
const MENDED_WITHIN = `interval '1 hour'`;

/** What each top-up brought into the ledger. */
const CREDITED = `
  SELECT account_id, reference, substr(reference, length('top_up:') + 1) AS id, max(created_at) AS credited_at,
         concat_ws(' ', 'credit', sum(amount_micros) FILTER (WHERE kind = 'top_up'), 'fee',
                   coalesce(sum(amount_micros) FILTER (WHERE kind = 'top_up_fee'), 0), 'lot',
                   max(lot_id) FILTER (WHERE kind = 'top_up')) AS credited
    FROM transfers WHERE kind IN ('top_up', 'top_up_fee', 'top_up_tax') GROUP BY account_id, reference`;

/** A paid top-up stands in the ledger to the micro-dollar, and a credited one is paid. */
const TOP_UPS = `
  SELECT 'top_ups', 'account_id=' || u.account_id || ' id=' || u.id, 'status', coalesce(t.credited, 'not paid'),
         concat_ws(' ', u.status, 'credit', u.credit_micros, 'fee', u.fee_micros, 'lot', u.lot_id)
    FROM top_ups u LEFT JOIN (${CREDITED}) t ON t.account_id = u.account_id AND t.reference = 'top_up:' || u.id
   WHERE (u.paid_at IS NOT NULL AND t.reference IS NULL)
      OR (u.paid_at IS NULL AND t.credited_at < now() - ${MENDED_WITHIN})
      OR t.credited <> concat_ws(' ', 'credit', u.credit_micros, 'fee', u.fee_micros, 'lot', u.lot_id)`;

/** Nobody's credit was bought without a top-up. */
const UNASKED_CREDITS = `
  SELECT 'top_ups', 'account_id=' || t.account_id || ' id=' || t.id, 'id', 'a top-up for ' || t.credited, 'none'
    FROM (${CREDITED}) t
   WHERE NOT EXISTS (SELECT FROM top_ups u WHERE u.account_id = t.account_id AND u.id = t.id)`;

/** Captured is what was delivered: no image unpaid, nothing paid that was not delivered. */
const GENERATIONS = `
  SELECT 'generations', 'account_id=' || g.account_id || ' id=' || g.id, 'charged_micros',
         coalesce(h.captured_micros, 0) || ' captured, ' || coalesce(d.images, 0) || ' images',
         g.status || ' ' || g.charged_micros || ' charged, ' || g.images_delivered || ' images'
    FROM generations g
    LEFT JOIN holds h ON h.account_id = g.account_id AND h.id = g.hold_id
    LEFT JOIN (SELECT account_id, generation_id, count(*) AS images FROM generation_tasks
                WHERE status = 'delivered' GROUP BY account_id, generation_id) d
           ON d.account_id = g.account_id AND d.generation_id = g.id
   WHERE CASE WHEN g.finished_at IS NULL THEN h.captured_micros > 0 AND h.resolved_at < now() - ${MENDED_WITHIN}
              ELSE g.charged_micros <> coalesce(h.captured_micros, 0) OR g.images_delivered <> coalesce(d.images, 0) END`;

const PAID_WITHOUT_GENERATION = `
  SELECT 'generations', 'account_id=' || h.account_id || ' id=' || substr(h.reference, length('generation:') + 1), 'id',
         'a generation for ' || h.captured_micros || ' captured from ' || h.id, 'none'
    FROM holds h
   WHERE h.status = 'captured' AND starts_with(h.reference, 'generation:')
     AND NOT EXISTS (SELECT FROM generations g WHERE g.account_id = h.account_id AND g.hold_id = h.id)`;

/** By name, so that a test that writes credits straight into the engine can leave one out. */
const RECEIPT_CHECKS = {
  'top-ups': TOP_UPS,
  'unasked credits': UNASKED_CREDITS,
  generations: GENERATIONS,
  'paid without generation': PAID_WITHOUT_GENERATION,
} as const;

export type ReceiptCheck = keyof typeof RECEIPT_CHECKS;

/**
 * What the rows of top-ups and generations claim about money, held against the ledger. Other modules' tables
 * are read here by SQL alone; nothing of their code is trusted.
 */
export async function proveReceipts(
  snapshot: Snapshot,
  report: Report,
  except: readonly ReceiptCheck[],
): Promise<void> {
  for (const [name, sql] of Object.entries(RECEIPT_CHECKS) as [ReceiptCheck, string][]) {
    if (!except.includes(name)) await reportAll(snapshot, sql, report);
  }
}
