import type { Snapshot } from '../../platform/database/snapshot.js';
import type { Report } from './proof/discrepancy.js';
import { reportAll } from './proof/prove-rows.js';
import { BOOKED_WITHIN, DISPUTES, UNASKED_DISPUTES } from './dispute-checks.js';

/**
 * A top-up and a generation are settled in the wallet first and in their row second. A job repairs a crash between the two
 * within minutes, so what is older than this was not repaired.
 */
const REPAIRED_WITHIN = `interval '1 hour'`;

/** What each top-up brought into the ledger. */
const CREDITED = `
  SELECT account_id, reference, substr(reference, length('top_up:') + 1) AS id, max(created_at) AS credited_at,
         concat_ws(' ', 'credit', sum(amount_micros) FILTER (WHERE kind = 'top_up'), 'fee',
                   coalesce(sum(amount_micros) FILTER (WHERE kind = 'top_up_fee'), 0), 'tax',
                   coalesce(sum(amount_micros) FILTER (WHERE kind = 'top_up_tax'), 0), 'lot',
                   max(lot_id) FILTER (WHERE kind = 'top_up')) AS credited
    FROM transfers WHERE kind IN ('top_up', 'top_up_fee', 'top_up_tax') GROUP BY account_id, reference`;

/** A paid top-up is in the ledger to the micro-dollar, and a credited one is paid. */
const TOP_UPS = `
  SELECT 'top_ups', 'account_id=' || u.account_id || ' id=' || u.id, 'status', coalesce(t.credited, 'not paid'),
         concat_ws(' ', u.status, 'credit', u.credit_micros, 'fee', u.fee_micros, 'tax', u.tax_micros, 'lot', u.lot_id)
    FROM top_ups u LEFT JOIN (${CREDITED}) t ON t.account_id = u.account_id AND t.reference = 'top_up:' || u.id
   WHERE (u.paid_at IS NOT NULL AND t.reference IS NULL)
      OR (u.paid_at IS NULL AND t.credited_at < now() - ${REPAIRED_WITHIN})
      OR t.credited <> concat_ws(' ', 'credit', u.credit_micros, 'fee', u.fee_micros, 'tax', u.tax_micros, 'lot', u.lot_id)`;

/** No credit was bought without a top-up. */
const UNASKED_CREDITS = `
  SELECT 'top_ups', 'account_id=' || t.account_id || ' id=' || t.id, 'id', 'a top-up for ' || t.credited, 'none'
    FROM (${CREDITED}) t
   WHERE NOT EXISTS (SELECT FROM top_ups u WHERE u.account_id = t.account_id AND u.id = t.id)`;

/** Stripe's names of the payment of a row: its session and its PaymentIntent, so that a join compares one column. */
const selectPayments = (table: string, session: string): string => `
  SELECT account_id, id, ${session} AS payment FROM ${table} UNION SELECT account_id, id, payment_intent_id FROM ${table}`;

/** A payment that an operator sent back or dismissed is no payment of a top-up that was credited. */
const REVIEWED_PAYMENTS = `
  SELECT DISTINCT 'payment_reviews', 'account_id=' || r.account_id || ' id=' || r.id, 'status', 'credited as ' || u.id, r.status
    FROM payment_reviews r
    JOIN (${selectPayments('payment_reviews', 'payment')}) reviewed USING (account_id, id)
    JOIN (${selectPayments('top_ups', 'checkout_session_id')}) paid
      ON paid.account_id = reviewed.account_id AND paid.payment = reviewed.payment
    JOIN top_ups u ON u.account_id = paid.account_id AND u.id = paid.id
   WHERE r.status IN ('returning', 'returned', 'failed', 'dismissed') AND u.paid_at IS NOT NULL
  UNION ALL
  SELECT 'payment_reviews', 'account_id=' || r.account_id || ' id=' || r.id, 'status',
         'credited by ' || t.reference, r.status
    FROM payment_reviews r
    JOIN top_ups u ON u.account_id = r.account_id AND u.id = r.top_up_id AND u.status = 'rejected'
    JOIN transfers t ON t.account_id = u.account_id AND t.reference = 'top_up:' || u.id AND t.leg = 0`;

/** What each refund took out of the ledger, and what came back when it failed. */
const REFUNDED = `
  SELECT account_id, split_part(reference, ':', 2) AS id,
         concat_ws(' ', 'credit', coalesce(sum(amount_micros) FILTER (WHERE kind = 'refund'), 0),
                   'fee', coalesce(sum(amount_micros) FILTER (WHERE kind = 'refund_fee'), 0),
                   'tax', coalesce(sum(amount_micros) FILTER (WHERE kind = 'refund_tax'), 0),
                   'excess', coalesce(sum(amount_micros) FILTER (WHERE kind = 'refund_excess'), 0)) AS taken,
         concat_ws(' ', 'credit', coalesce(sum(amount_micros) FILTER (WHERE kind = 'reinstatement'), 0),
                   'fee', coalesce(sum(amount_micros) FILTER (WHERE kind = 'reinstatement_fee'), 0),
                   'tax', coalesce(sum(amount_micros) FILTER (WHERE kind = 'reinstatement_tax'), 0),
                   'excess', coalesce(sum(amount_micros) FILTER (WHERE kind = 'reinstatement_excess'), 0)) AS given_back,
         coalesce(sum(amount_micros) FILTER (WHERE kind = 'write_off'), 0) AS written_off,
         coalesce(sum(amount_micros) FILTER (WHERE kind = 'write_off_reversal'), 0) AS owed_again, max(created_at) AS moved_at
    FROM transfers WHERE starts_with(reference, 'refund:') GROUP BY 1, 2`;

/**
 * A refund that is under way or done is in the ledger to the micro-dollar; one that failed is there twice. No more
 * is written off, and not owed again, than it took, and no more is owed again than was written off.
 */
const REFUNDS = `
  SELECT 'refunds', 'account_id=' || r.account_id || ' id=' || r.id, 'status',
         coalesce('taken ' || t.taken || ', given back ' || t.given_back || ', written off ' || t.written_off
                  || ', owed again ' || t.owed_again, 'nothing moved'),
         concat_ws(' ', r.status, 'credit', r.credit_micros, 'fee', r.fee_micros, 'tax', r.tax_micros, 'excess', r.excess_micros)
    FROM refunds r LEFT JOIN (${REFUNDED}) t ON t.account_id = r.account_id AND t.id = r.id
   CROSS JOIN LATERAL (SELECT concat_ws(' ', 'credit', r.credit_micros, 'fee', r.fee_micros, 'tax', r.tax_micros, 'excess', r.excess_micros) AS whole) w
   WHERE CASE -- What a paused process took after the refusal is in the wallet again.
              WHEN r.status = 'refused' THEN t.taken <> t.given_back
              -- Its money is gone and its credit is not: wrong from the first minute.
              WHEN r.status = 'needs_review' THEN true
              -- A job books what is decided every minute.
              WHEN r.status = 'failing' AND r.failure_decided_at < now() - ${BOOKED_WITHIN} THEN true
              WHEN t.id IS NULL THEN r.status <> 'created' OR r.checked_at < now() - ${REPAIRED_WITHIN}
              ELSE t.taken <> w.whole
                OR t.given_back NOT IN ('credit 0 fee 0 tax 0 excess 0', w.whole)
                OR t.written_off - t.owed_again > r.credit_micros
                OR t.owed_again > t.written_off
                OR ((t.given_back = w.whole) <> (r.status = 'failed') AND t.moved_at < now() - ${REPAIRED_WITHIN}) END`;

const UNASKED_REFUNDS = `
  SELECT 'refunds', 'account_id=' || t.account_id || ' id=' || t.id, 'id', 'a refund that took ' || t.taken, 'none'
    FROM (${REFUNDED}) t
   WHERE NOT EXISTS (SELECT FROM refunds r WHERE r.account_id = t.account_id AND r.id = t.id)`;

/**
 * A payment that contradicts its quote stays at Stripe, and in no customer's book, until an operator decides. So it is named from the
 * first minute, and a top-up that waits without a review, which no one could decide, as well.
 */
const UNDECIDED_PAYMENTS = `
  SELECT 'payment_reviews', 'account_id=' || account_id || ' id=' || id, 'status',
         'returned, dismissed or credited: a person decides', status
    FROM payment_reviews WHERE status IN ('open', 'failed')
  UNION ALL
  SELECT 'top_ups', 'account_id=' || u.account_id || ' id=' || u.id, 'status', 'a payment under review', u.status
    FROM top_ups u
   WHERE u.status = 'needs_review'
     AND NOT EXISTS (SELECT FROM payment_reviews r WHERE r.account_id = u.account_id AND r.top_up_id = u.id)`;

/** What Stripe said of money is acted on within minutes, over and over while it fails. */
const UNHANDLED_EVENTS = `
  SELECT 'stripe_events', 'id=' || id, 'processed_at', 'handled within an hour',
         concat_ws(' ', type, 'waits since', received_at, last_error)
    FROM stripe_events WHERE processed_at IS NULL AND received_at < now() - ${REPAIRED_WITHIN}`;

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
   WHERE CASE WHEN g.finished_at IS NULL THEN h.captured_micros > 0 AND h.resolved_at < now() - ${REPAIRED_WITHIN}
              ELSE g.charged_micros <> coalesce(h.captured_micros, 0) OR g.images_delivered <> coalesce(d.images, 0) END`;

/** By the generation's id, which is looked up, so that an account's calls are not read again for each of its holds. */
const PAID_WITHOUT_GENERATION = `
  SELECT 'generations', 'account_id=' || h.account_id || ' id=' || substr(h.reference, length('generation:') + 1), 'id',
         'a generation for ' || h.captured_micros || ' captured from ' || h.id, 'none'
    FROM holds h
   WHERE h.status = 'captured' AND starts_with(h.reference, 'generation:')
     AND NOT EXISTS (SELECT FROM generations g WHERE g.account_id = h.account_id AND g.hold_id = h.id
                        AND g.id = substr(h.reference, length('generation:') + 1))`;

/** By name, so that a test that writes credits straight into the engine can leave one out. */
const RECEIPT_CHECKS = {
  'top-ups': TOP_UPS,
  'unasked credits': UNASKED_CREDITS,
  'reviewed payments': REVIEWED_PAYMENTS,
  refunds: REFUNDS,
  'unasked refunds': UNASKED_REFUNDS,
  disputes: DISPUTES,
  'unasked disputes': UNASKED_DISPUTES,
  'undecided payments': UNDECIDED_PAYMENTS,
  'unhandled events': UNHANDLED_EVENTS,
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
