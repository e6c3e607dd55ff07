-- What Stripe moved for a payment that was reviewed is looked for every few minutes.
SET LOCAL lock_timeout = '5s';

-- Only a job writes the table, and it waits.
CREATE INDEX stripe_balance_transactions_payment_intent_idx ON stripe_balance_transactions (payment_intent_id)
  WHERE payment_intent_id IS NOT NULL;
