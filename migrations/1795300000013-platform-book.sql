-- The platform book: what Stripe keeps, and what goes to the bank. Every balance transaction of Stripe is stored as
-- it was told, and booked once under its own id.
SET LOCAL lock_timeout = '5s';

-- Stripe gives a fee back now and then (a dispute's), and takes a payout back (the bank refused it).
--
-- One constant instead of a CASE: Postgres reads a constraint's expression anew for every statement, whatever the
-- number of its rows, and the long CASE took a sixth of what a lone debit costs the server. No name has a
-- space, so the joined text is unambiguous.
-- Not validated: every row of the narrower rule holds the wider one, and reading them all again would lock charges out.
ALTER TABLE transfers DROP CONSTRAINT transfers_posting_rule;
ALTER TABLE transfers ADD CONSTRAINT transfers_posting_rule CHECK (
  kind || ' ' || debit_account || ' ' || credit_account = ANY ('{
    capture customer_promo usage_revenue, capture customer_credit usage_revenue,
    debit customer_promo usage_revenue, debit customer_credit usage_revenue,
    top_up stripe_clearing customer_credit, top_up_fee stripe_clearing platform_fee_revenue, top_up_tax stripe_clearing tax_payable,
    grant promotional_credit customer_promo,
    expiry customer_promo promotional_credit, expiry customer_credit breakage_revenue,
    refund customer_credit stripe_clearing, refund_fee platform_fee_revenue stripe_clearing, refund_tax tax_payable stripe_clearing,
    dispute customer_credit stripe_clearing, dispute_fee platform_fee_revenue stripe_clearing, dispute_tax tax_payable stripe_clearing,
    reinstatement stripe_clearing customer_credit, reinstatement_fee stripe_clearing platform_fee_revenue,
    reinstatement_tax stripe_clearing tax_payable,
    write_off dispute_losses customer_credit,
    adjustment goodwill customer_credit, adjustment customer_credit goodwill,
    processor_fee processor_fees stripe_clearing, processor_fee_return stripe_clearing processor_fees,
    payout bank stripe_clearing, payout_return stripe_clearing bank,
    upstream_cost upstream_cost upstream_payable
  }'::text[])
  AND (account_id = 'acct_platform'
       OR kind <> ALL ('{processor_fee, processor_fee_return, payout, payout_return, upstream_cost}'::text[]))
) NOT VALID;

CREATE TABLE stripe_balance_transactions (
  -- Stripe's own id, and its word for everything below.
  id                  text COLLATE "C" NOT NULL,
  livemode            boolean NOT NULL,
  type                text COLLATE "C" NOT NULL,
  reporting_category  text COLLATE "C" NOT NULL,
  currency            text COLLATE "C" NOT NULL,
  -- Positive into the balance at Stripe. The fee is what Stripe keeps of it, negative when it gives one back.
  amount_cents        bigint NOT NULL,
  fee_cents           bigint NOT NULL,
  net_cents           bigint NOT NULL,
  -- The charge, refund, dispute or payout that moved the money, and the payment behind it.
  source_id           text COLLATE "C",
  payment_intent_id   text COLLATE "C",
  -- Ours, from the charge's metadata: a payment is known by it before, and even if, our own row has settled.
  top_up_id           text COLLATE "C",
  created_at          timestamptz(3) NOT NULL,
  stored_at           timestamptz(3) NOT NULL,
  -- When our own part of it stood in the platform book.
  booked_at           timestamptz(3),
  CONSTRAINT stripe_balance_transactions_pkey PRIMARY KEY (id),
  CONSTRAINT stripe_balance_transactions_net CHECK (net_cents = amount_cents - fee_cents)
-- Each row is rewritten once, when it is booked: room on the page for that.
) WITH (fillfactor = 90);
-- What still has to be booked; small, whatever the size of the table.
CREATE INDEX stripe_balance_transactions_unbooked_idx ON stripe_balance_transactions (created_at, id) WHERE booked_at IS NULL;
-- A report is over a range of days.
CREATE INDEX stripe_balance_transactions_created_at_idx ON stripe_balance_transactions (created_at);

-- What Stripe told is kept as it was told, and what is booked stays booked.
CREATE FUNCTION refuse_balance_transaction_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'balance transaction % is kept as it was told', OLD.id
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'stripe_balance_transactions_fixed';
END $$;
CREATE TRIGGER stripe_balance_transactions_fixed BEFORE UPDATE ON stripe_balance_transactions
  FOR EACH ROW WHEN (
    (OLD.booked_at IS NOT NULL AND NEW.booked_at IS DISTINCT FROM OLD.booked_at)
    OR (NEW.id, NEW.livemode, NEW.type, NEW.reporting_category, NEW.currency, NEW.amount_cents, NEW.fee_cents, NEW.net_cents,
        NEW.source_id, NEW.payment_intent_id, NEW.top_up_id, NEW.created_at)
      IS DISTINCT FROM
       (OLD.id, OLD.livemode, OLD.type, OLD.reporting_category, OLD.currency, OLD.amount_cents, OLD.fee_cents, OLD.net_cents,
        OLD.source_id, OLD.payment_intent_id, OLD.top_up_id, OLD.created_at)
  ) EXECUTE FUNCTION refuse_balance_transaction_change();

-- How far Stripe's list of balance transactions was read, as stripe_event_cursors for events.
CREATE TABLE stripe_balance_cursors (
  livemode        boolean NOT NULL,
  -- Every balance transaction that was created before this is stored.
  complete_until  timestamptz(3) NOT NULL,
  window_until    timestamptz(3),
  after_id        text COLLATE "C",
  CONSTRAINT stripe_balance_cursors_pkey PRIMARY KEY (livemode),
  CONSTRAINT stripe_balance_cursors_window_whole CHECK ((window_until IS NULL) = (after_id IS NULL))
-- Two rows at most, each rewritten every few minutes.
) WITH (fillfactor = 50);

REVOKE DELETE ON stripe_balance_transactions, stripe_balance_cursors FROM coffer_app;
