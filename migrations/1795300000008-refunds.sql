-- Refunds: paid credit that goes back, from the request to Stripe's last word.
SET LOCAL lock_timeout = '5s';

CREATE TABLE refunds (
  account_id         text COLLATE "C" NOT NULL,
  id                 text COLLATE "C" NOT NULL,
  top_up_id          text COLLATE "C" NOT NULL,
  status             text COLLATE "C" NOT NULL,
  -- What the customer gets is exactly the credit plus its share of the fee, to the cent.
  credit_micros      bigint NOT NULL,
  fee_micros         bigint NOT NULL,
  amount_cents       bigint NOT NULL,
  payment_intent_id  text COLLATE "C" NOT NULL,
  lot_id             text COLLATE "C" NOT NULL,
  return_lot_id      text COLLATE "C" NOT NULL,
  reason             text,
  stripe_refund_id   text COLLATE "C",
  failure_code       text COLLATE "C",
  idempotency_key    text COLLATE "C",
  fingerprint        text COLLATE "C" NOT NULL,
  created_by         text COLLATE "C" NOT NULL,
  created_at         timestamptz(3) NOT NULL,
  checked_at         timestamptz(3) NOT NULL,
  CONSTRAINT refunds_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT refunds_top_up_fkey FOREIGN KEY (account_id, top_up_id) REFERENCES top_ups (account_id, id),
  CONSTRAINT refunds_idempotency_key_key UNIQUE (account_id, idempotency_key),
  CONSTRAINT refunds_id_form CHECK (id LIKE 're\_%'),
  CONSTRAINT refunds_status_known CHECK (
    status IN ('created', 'pending', 'succeeded', 'failed', 'refused', 'needs_review')),
  CONSTRAINT refunds_amounts CHECK (
    credit_micros > 0 AND fee_micros >= 0 AND credit_micros + fee_micros = amount_cents * 10000),
  CONSTRAINT refunds_known_to_stripe CHECK (
    status NOT IN ('pending', 'succeeded', 'needs_review') OR stripe_refund_id IS NOT NULL),
  CONSTRAINT refunds_text_length CHECK (char_length(reason) <= 500)
);
-- News from Stripe name a refund by Stripe's id alone.
CREATE UNIQUE INDEX refunds_stripe_refund_id_idx ON refunds (stripe_refund_id) WHERE stripe_refund_id IS NOT NULL;
CREATE INDEX refunds_id_idx ON refunds (id);
CREATE INDEX refunds_top_up_idx ON refunds (account_id, top_up_id);
-- What is still open; small, whatever the size of the table.
CREATE INDEX refunds_open_idx ON refunds (checked_at) WHERE status IN ('created', 'pending');

-- News of a payment name a top-up by it.
CREATE INDEX top_ups_payment_intent_id_idx ON top_ups (payment_intent_id) WHERE payment_intent_id IS NOT NULL;

-- No more goes back than was paid, whoever writes and however many at once: the top-up's row is locked, so the
-- sums are those of everybody before.
CREATE FUNCTION refuse_refund_beyond_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  paid record;
  returned record;
BEGIN
  SELECT status, credit_micros, fee_micros INTO paid FROM top_ups
   WHERE account_id = NEW.account_id AND id = NEW.top_up_id FOR UPDATE;
  SELECT coalesce(sum(credit_micros), 0) AS credit_micros, coalesce(sum(fee_micros), 0) AS fee_micros INTO returned
    FROM refunds WHERE account_id = NEW.account_id AND top_up_id = NEW.top_up_id
     AND status NOT IN ('failed', 'refused');
  IF paid.status <> 'paid'
     OR returned.credit_micros + NEW.credit_micros > paid.credit_micros
     OR returned.fee_micros + NEW.fee_micros > paid.fee_micros THEN
    RAISE EXCEPTION 'refund % goes beyond what was paid for %', NEW.id, NEW.top_up_id
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'refunds_within_payment';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER refunds_within_payment BEFORE INSERT ON refunds
  FOR EACH ROW EXECUTE FUNCTION refuse_refund_beyond_payment();

-- What was asked for is fixed, and what failed stays failed: otherwise the sums above would not hold.
CREATE FUNCTION refuse_refund_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'refund % is % and its amounts are fixed', OLD.id, OLD.status
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'refunds_fixed';
END $$;
CREATE TRIGGER refunds_fixed BEFORE UPDATE ON refunds
  FOR EACH ROW WHEN (
    (OLD.status IN ('failed', 'refused', 'needs_review') AND NEW.status <> OLD.status)
    OR (NEW.account_id, NEW.id, NEW.top_up_id, NEW.credit_micros, NEW.fee_micros, NEW.amount_cents, NEW.lot_id, NEW.return_lot_id)
      IS DISTINCT FROM
       (OLD.account_id, OLD.id, OLD.top_up_id, OLD.credit_micros, OLD.fee_micros, OLD.amount_cents, OLD.lot_id, OLD.return_lot_id)
  ) EXECUTE FUNCTION refuse_refund_change();

REVOKE DELETE ON refunds FROM coffer_app;
