/**
 * Compares Stripe's balance transactions with the ledger, as SQL that the doctor and the report share. Amounts are micro-USD.
 * Tables of other modules are read by SQL only.
 */

import { OF_CUSTOMERS } from './platform-book.rules.js';

/** What each event of each book moved in our account at Stripe. Positive amounts increase it. */
export const CLEARING = `
  SELECT account_id, reference, max(created_at) AS moved_at,
         sum(CASE WHEN debit_account = 'stripe_clearing' THEN amount_micros ELSE -amount_micros END) AS moved_micros
    FROM transfers WHERE 'stripe_clearing' IN (debit_account, credit_account) GROUP BY account_id, reference`;

/** The id of the balance transaction in a row of the platform's book, whose references are `balance_transaction:…` and `unapplied:…`. */
export const REPORTED_ID = `split_part(reference, ':', 2)`;

/**
 * Each balance transaction with the event in a customer's book that must have its amount. There is no such event for our own
 * money, for another system's on the same Stripe account, and for a payment that no customer was credited with.
 */
export const NAMED = `
  SELECT b.*, coalesce(u.account_id, r.account_id, d.account_id) AS account_id,
         CASE WHEN m.reference IS NOT NULL THEN m.reference
              WHEN o.reference IS NOT NULL THEN o.reference
              WHEN u.id IS NOT NULL THEN 'top_up:' || u.id
              WHEN r.id IS NOT NULL THEN 'refund:' || r.id || CASE WHEN b.amount_cents > 0 THEN ':failed' ELSE '' END
              WHEN d.id IS NOT NULL THEN 'dispute:' || d.id || CASE WHEN b.amount_cents > 0 THEN ':reinstated:' ELSE ':withdrawn:' END || b.id
          END AS reference
    FROM stripe_balance_transactions b
    LEFT JOIN top_ups u ON b.type IN ('charge', 'payment') AND u.id = b.top_up_id
                       AND coalesce(u.payment_intent_id, b.payment_intent_id) = b.payment_intent_id
                       AND u.status IN ('created', 'pending', 'processing', 'paid', 'expired', 'failed')
                       -- What is reviewed pays for a top-up only once that says so.
                       AND (u.payment_intent_id IS NOT NULL
                            OR NOT EXISTS (SELECT FROM payment_reviews v WHERE v.payment_intent_id = b.payment_intent_id))
    LEFT JOIN refunds r ON b.type IN ('refund', 'payment_refund', 'refund_failure', 'payment_failure_refund')
                       AND r.stripe_refund_id = b.source_id AND r.status IN ('created', 'pending', 'succeeded', 'failing', 'failed', 'needs_review')
    LEFT JOIN disputes d ON b.type = 'adjustment' AND d.id = b.source_id
    LEFT JOIN dispute_movements m ON m.balance_transaction_id = b.id
    -- Of a movement that an earlier release decided, it is known whose it is and not which.
    LEFT JOIN dispute_movements o ON m.reference IS NULL AND o.account_id = d.account_id AND o.dispute_id = d.id
                                 AND o.balance_transaction_id IS NULL AND sign(o.amount_cents) = sign(b.amount_cents)
   WHERE b.currency = 'usd'`;

/**
 * Each balance transaction of a payment that was reviewed. Its amount is in `unapplied_payments` until a customer's own book has it
 * (`is_applied`), and permanently when no customer is credited. That depends on what Stripe moved and what was credited, and not on an
 * operator's decision, because a decision moves no money. `since` is the last time at which any of this changed.
 */
export const REVIEWED = `
  SELECT b.id, b.type, b.source_id, b.amount_cents, b.created_at, greatest(b.stored_at, reviewed.at, credited.at) AS since,
         EXISTS (SELECT FROM (${NAMED}) n WHERE n.id = b.id AND n.reference IS NOT NULL
                    AND (credited.at IS NOT NULL OR n.type NOT IN ('charge', 'payment'))) AS is_applied
    FROM (SELECT payment_intent_id, min(created_at) AS at FROM payment_reviews
           WHERE payment_intent_id IS NOT NULL GROUP BY payment_intent_id) reviewed
   CROSS JOIN LATERAL (SELECT * FROM stripe_balance_transactions t
                        WHERE t.payment_intent_id = reviewed.payment_intent_id OFFSET 0) b
   CROSS JOIN LATERAL (SELECT max(u.paid_at) AS at FROM top_ups u
                        WHERE u.payment_intent_id = b.payment_intent_id AND u.status = 'paid') credited
   WHERE b.currency = 'usd' AND b.amount_cents <> 0 AND b.type IN ('${[...OF_CUSTOMERS].join(`', '`)}')`;
