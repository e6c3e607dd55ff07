import { StripeBalanceJob } from '../../../src/finance/reconciliation/stripe-balance.job.js';
import type { TestApp } from '../app/test-app.js';
import type { ReturnHistory } from './return-history.js';

/** What the customer's book moved in our account at Stripe, next to what Stripe says of the same payment. In cents. */
export async function clearing(app: TestApp, { accountId }: ReturnHistory): Promise<Record<string, unknown>> {
  await app.app.get(StripeBalanceJob).run();
  const [row] = await app.dataSource.query<Record<string, unknown>[]>(
    `SELECT (SELECT coalesce(sum(CASE 'stripe_clearing' WHEN debit_account THEN amount_micros
                                   WHEN credit_account THEN -amount_micros ELSE 0 END), 0) / 10000
               FROM transfers WHERE account_id = $1)::int AS booked,
            (SELECT coalesce(sum(b.amount_cents), 0) FROM stripe_balance_transactions b
              WHERE b.source_id IN (SELECT id FROM disputes WHERE account_id = $1
                                    UNION SELECT stripe_refund_id FROM refunds WHERE account_id = $1)
                 OR b.payment_intent_id IN (SELECT payment_intent_id FROM top_ups WHERE account_id = $1)
                AND b.type IN ('charge', 'payment'))::int AS reported`,
    [accountId],
  );
  return row ?? {};
}
