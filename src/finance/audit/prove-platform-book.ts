import type { Snapshot } from '../../platform/database/snapshot.js';
import { reportAll } from './proof/prove-rows.js';
import type { Report } from './proof/discrepancy.js';
import { CLEARING, NAMED, REVIEWED, REPORTED_ID } from '../reconciliation/reconciliation.js';

/** Money is booked in the ledger within minutes of its being heard of; what is older than this was not. */
const BOOKED_WITHIN = `interval '1 hour'`;

/** What Stripe kept and what went to the bank is in our own book to the micro-dollar, each balance transaction once. */
const OWN_PARTS = `
  SELECT 'transfers', 'account_id=acct_platform reference=balance_transaction:' || b.id, 'amount_micros',
         concat_ws(' ', 'processor_fees', b.fees, 'bank', b.bank), coalesce('processor_fees ' || t.fees || ' bank ' || t.bank, 'none')
    FROM (SELECT id, stored_at, booked_at,
                 (fee_cents - CASE WHEN type IN ('stripe_fee', 'stripe_fx_fee', 'tax_fee', 'network_cost') THEN amount_cents ELSE 0 END) * 10000 AS fees,
                 CASE WHEN type IN ('payout', 'payout_cancel', 'payout_failure', 'topup', 'topup_reversal') THEN -amount_cents ELSE 0 END * 10000 AS bank
            FROM stripe_balance_transactions WHERE currency = 'usd') b
    LEFT JOIN (SELECT substr(reference, length('balance_transaction:') + 1) AS id,
                      sum(CASE 'processor_fees' WHEN debit_account THEN amount_micros WHEN credit_account THEN -amount_micros ELSE 0 END) AS fees,
                      sum(CASE 'bank' WHEN debit_account THEN amount_micros WHEN credit_account THEN -amount_micros ELSE 0 END) AS bank
                 FROM transfers WHERE account_id = 'acct_platform' AND starts_with(reference, 'balance_transaction:') GROUP BY 1) t
           USING (id)
   WHERE (coalesce(t.fees, 0), coalesce(t.bank, 0)) <> (b.fees, b.bank)
     AND (t.fees IS NOT NULL OR b.booked_at IS NOT NULL OR b.stored_at < now() - ${BOOKED_WITHIN})`;

/** Our own account at Stripe has nothing that Stripe did not report. */
const UNTOLD_PARTS = `
  SELECT 'stripe_balance_transactions', 'id=' || ${REPORTED_ID}, 'id',
         'a balance transaction for ' || c.moved_micros, 'none'
    FROM (${CLEARING}) c
   WHERE c.account_id = 'acct_platform'
     AND NOT EXISTS (SELECT FROM stripe_balance_transactions b WHERE b.id = ${REPORTED_ID})`;

/**
 * What Stripe has of payments that no customer was credited with is owed, each balance transaction to the micro-dollar, and nothing else
 * is: not what a customer's own book has after all, and not what went back.
 */
const UNAPPLIED_PARTS = `
  SELECT 'transfers', 'account_id=acct_platform reference=unapplied:' || id, 'amount_micros',
         coalesce(n.owed, 0) || ' in unapplied_payments', coalesce(t.owed::text, 'none')
    FROM (SELECT id, since, amount_cents * 10000 AS whole,
                 CASE WHEN is_applied THEN 0 ELSE amount_cents END * 10000 AS owed FROM (${REVIEWED}) reviewed) n
    FULL JOIN (SELECT ${REPORTED_ID} AS id, sum(CASE credit_account WHEN 'unapplied_payments' THEN amount_micros ELSE -amount_micros END) AS owed
                 FROM transfers
                WHERE account_id = 'acct_platform' AND 'unapplied_payments' IN (debit_account, credit_account) GROUP BY 1) t
           USING (id)
   WHERE coalesce(n.owed, 0) <> coalesce(t.owed, 0)
     AND (n.id IS NULL OR coalesce(t.owed, 0) NOT IN (0, n.whole) OR n.since < now() - ${BOOKED_WITHIN})`;

/**
 * A payment of a top-up is credited, or waits for a person, or one has decided about it. An earlier release closed the reviews of all
 * payments of a top-up as credited when one of them was.
 */
const UNREVIEWED_PARTS = `
  SELECT 'stripe_balance_transactions', 'id=' || n.id, 'payment_intent_id', 'a payment that is credited or reviewed',
         n.amount_cents || ' usd cents moved by ' || n.source_id || ' for ' || n.top_up_id
    FROM (${NAMED}) n
    JOIN top_ups u ON u.id = n.top_up_id
   WHERE n.type IN ('charge', 'payment') AND n.reference IS NULL AND n.stored_at < now() - ${BOOKED_WITHIN}
     AND NOT EXISTS (SELECT FROM payment_reviews r WHERE r.payment_intent_id = n.payment_intent_id
                        AND (r.status <> 'credited' OR r.checked_at > now() - ${BOOKED_WITHIN}))
     AND NOT EXISTS (SELECT FROM stripe_balance_settlements s WHERE s.balance_transaction_id = n.id)`;

/** What customers' payments, refunds and disputes moved at Stripe is in their books, to the micro-dollar. */
const CUSTOMER_PARTS = `
  SELECT 'transfers', 'account_id=' || n.account_id || ' reference=' || n.reference, 'amount_micros',
         n.reported_micros || ' into stripe_clearing, by ' || n.ids, coalesce(c.moved_micros::text, 'none')
    FROM (SELECT account_id, reference, sum(amount_cents) * 10000 AS reported_micros, max(stored_at) AS stored_at,
                 string_agg(id, ', ' ORDER BY id) AS ids
            FROM (${NAMED}) named WHERE reference IS NOT NULL GROUP BY account_id, reference) n
    LEFT JOIN (${CLEARING}) c ON c.account_id = n.account_id AND c.reference = n.reference
   WHERE c.moved_micros IS DISTINCT FROM n.reported_micros
     AND (c.moved_micros IS NOT NULL OR n.stored_at < now() - ${BOOKED_WITHIN})`;

/**
 * And their books have nothing that Stripe does not know, as far as its list was read. A refund is written
 * before Stripe is asked, so only one that succeeded must be known there. Its failure must be known where Stripe had taken its money.
 */
const UNTOLD_CUSTOMER_PARTS = `
  SELECT 'stripe_balance_transactions', 'account_id=' || c.account_id || ' reference=' || c.reference, 'id',
         'a balance transaction for ' || c.moved_micros, 'none'
    FROM (${CLEARING}) c
    JOIN (SELECT account_id, 'top_up:' || id AS reference, livemode FROM top_ups
          UNION ALL
          SELECT r.account_id, 'refund:' || r.id, u.livemode FROM refunds r
            JOIN top_ups u ON u.account_id = r.account_id AND u.id = r.top_up_id WHERE r.status = 'succeeded'
          UNION ALL
          SELECT r.account_id, 'refund:' || r.id || ':failed', u.livemode FROM refunds r
            JOIN top_ups u ON u.account_id = r.account_id AND u.id = r.top_up_id
            JOIN stripe_balance_transactions b ON b.source_id = r.stripe_refund_id AND b.currency = 'usd' AND b.amount_cents < 0
           WHERE r.status IN ('failing', 'failed')
          UNION ALL
          SELECT m.account_id, m.reference, u.livemode FROM dispute_movements m
            JOIN disputes d ON d.account_id = m.account_id AND d.id = m.dispute_id
            JOIN top_ups u ON u.account_id = d.account_id AND u.id = d.top_up_id WHERE m.amount_cents <> 0) o
      ON o.account_id = c.account_id AND o.reference = c.reference
    JOIN stripe_balance_cursors p ON p.livemode = o.livemode AND c.moved_at < p.complete_until - ${BOOKED_WITHIN}
   WHERE NOT EXISTS (SELECT FROM (${NAMED}) n WHERE n.account_id = c.account_id AND n.reference = c.reference)`;

/** Whether a balance transaction `b` is in `unapplied_payments`, and whether more of its payment is gone than was paid. */
const IS_OWED = `EXISTS (SELECT FROM transfers t WHERE t.account_id = 'acct_platform' AND t.reference = 'unapplied:' || b.id)`;
const IS_OVERDRAWN = `(SELECT sum(o.amount_cents) FROM stripe_balance_transactions o
                         WHERE o.payment_intent_id = b.payment_intent_id AND o.currency = 'usd') < 0`;

/**
 * What Stripe took or gave back for a payment of a top-up, and no row explains: a refund or a dispute of a payment
 * that was neither credited nor reviewed, or money of another currency. No account of a customer has it, so nothing above compares it. Its event was
 * handled, so no row will come; without an event it is named after an hour. A refund that failed is explained by its
 * sum of 0, and what a review names, or still waits for, by the review. All disputes of a reviewed payment are explained by
 * `unapplied_payments`, as long as no more is gone than was paid.
 */
const UNEXPLAINED_PARTS = `
  WITH payments AS MATERIALIZED (
    SELECT payment_intent_id, min(account_id) AS account_id
      FROM (SELECT payment_intent_id, account_id FROM top_ups
            UNION ALL SELECT payment_intent_id, account_id FROM payment_reviews
            UNION ALL SELECT c.payment_intent_id, u.account_id
                        FROM stripe_balance_transactions c JOIN top_ups u ON u.id = c.top_up_id) known
     WHERE payment_intent_id IS NOT NULL GROUP BY payment_intent_id)
  SELECT 'stripe_balance_transactions', 'id=' || string_agg(b.id, ',' ORDER BY b.id), 'source_id',
         'a refund or a dispute in the book of ' || p.account_id || '; check ' || b.source_id || ' in Stripe, and '
           || CASE WHEN bool_or(r.status <> 'credited') THEN 'change no credit of the account, which never had this payment'
                   ELSE 'correct the credit of the account by a debit or a grant where it has to change' END
           || ', then settle it (POST /v1/stripe_balance_transactions/{id}/settle)',
         sum(b.amount_cents) || ' ' || b.currency || ' cents moved by ' || b.source_id || ' for ' || b.payment_intent_id
    FROM stripe_balance_transactions b
    JOIN payments p USING (payment_intent_id)
    LEFT JOIN payment_reviews r ON r.payment_intent_id = b.payment_intent_id
   WHERE b.type NOT IN ('charge', 'payment')
     AND NOT EXISTS (SELECT FROM (${NAMED}) n WHERE n.id = b.id AND n.reference IS NOT NULL)
     -- A person has decided what becomes of it.
     AND NOT EXISTS (SELECT FROM stripe_balance_settlements s WHERE s.balance_transaction_id = b.id)
     AND CASE WHEN r.status IS NULL OR r.status = 'credited' THEN true
              WHEN b.type = 'adjustment' THEN r.dispute_id IS DISTINCT FROM b.source_id AND (${IS_OVERDRAWN} OR NOT ${IS_OWED})
              ELSE r.status = 'returned' AND r.stripe_refund_id IS DISTINCT FROM b.source_id END
   GROUP BY p.account_id, b.payment_intent_id, b.source_id, b.currency
  HAVING sum(b.amount_cents) <> 0
     AND (max(b.stored_at) < now() - ${BOOKED_WITHIN}
          OR b.source_id IN (SELECT object_id FROM stripe_events WHERE processed_at IS NOT NULL))`;

/** The ledger's account at Stripe, compared row by row with what Stripe reported. */
export async function provePlatformBook(snapshot: Snapshot, report: Report): Promise<void> {
  const checks = [
    OWN_PARTS,
    UNTOLD_PARTS,
    UNAPPLIED_PARTS,
    UNREVIEWED_PARTS,
    CUSTOMER_PARTS,
    UNTOLD_CUSTOMER_PARTS,
    UNEXPLAINED_PARTS,
  ];
  for (const sql of checks) {
    await reportAll(snapshot, sql, report);
  }
}
