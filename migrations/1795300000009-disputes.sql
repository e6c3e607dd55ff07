-- Disputes: money that a cardholder's bank takes back, and sometimes returns.
SET LOCAL lock_timeout = '5s';

CREATE TABLE disputes (
  account_id            text COLLATE "C" NOT NULL,
  -- Stripe's own id.
  id                    text COLLATE "C" NOT NULL,
  top_up_id             text COLLATE "C" NOT NULL,
  -- Stripe's own word, an open set.
  status                text COLLATE "C" NOT NULL,
  reason                text COLLATE "C" NOT NULL,
  amount_cents          bigint NOT NULL,
  -- Its parts, fixed when the money is withdrawn; null before.
  credit_micros         bigint,
  fee_micros            bigint,
  reinstatement_lot_id  text COLLATE "C" NOT NULL,
  frozen_at             timestamptz(3),
  withdrawn_at          timestamptz(3),
  reinstated_at         timestamptz(3),
  -- What an operator gave up of the debt it left.
  written_off_micros    bigint,
  created_at            timestamptz(3) NOT NULL,
  checked_at            timestamptz(3) NOT NULL,
  CONSTRAINT disputes_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT disputes_top_up_fkey FOREIGN KEY (account_id, top_up_id) REFERENCES top_ups (account_id, id),
  CONSTRAINT disputes_amounts CHECK (
    amount_cents > 0 AND credit_micros > 0 AND fee_micros >= 0 AND credit_micros + fee_micros = amount_cents * 10000),
  CONSTRAINT disputes_withdrawn_in_parts CHECK (
    (credit_micros IS NULL) = (fee_micros IS NULL) AND (withdrawn_at IS NULL OR credit_micros IS NOT NULL)),
  CONSTRAINT disputes_reinstated_after_withdrawal CHECK (reinstated_at IS NULL OR withdrawn_at IS NOT NULL),
  CONSTRAINT disputes_written_off_positive CHECK (written_off_micros > 0)
);
CREATE INDEX disputes_id_idx ON disputes (id);
CREATE INDEX disputes_top_up_idx ON disputes (account_id, top_up_id);

-- Never a refund and a dispute for the same money: both count against the payment, under the lock of its row.
CREATE FUNCTION returned_of_top_up(account text, top_up text, OUT credit_micros bigint, OUT fee_micros bigint)
LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(parts.credit_micros), 0)::bigint, coalesce(sum(parts.fee_micros), 0)::bigint
    FROM (SELECT r.credit_micros, r.fee_micros FROM refunds r
           WHERE r.account_id = account AND r.top_up_id = top_up AND r.status NOT IN ('failed', 'refused')
          UNION ALL
          SELECT d.credit_micros, d.fee_micros FROM disputes d
           WHERE d.account_id = account AND d.top_up_id = top_up
             AND d.credit_micros IS NOT NULL AND d.reinstated_at IS NULL) AS parts
$$;

CREATE OR REPLACE FUNCTION refuse_refund_beyond_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  paid record;
  returned record;
BEGIN
  SELECT status, credit_micros, fee_micros INTO paid FROM top_ups
   WHERE account_id = NEW.account_id AND id = NEW.top_up_id FOR UPDATE;
  SELECT * INTO returned FROM returned_of_top_up(NEW.account_id, NEW.top_up_id);
  IF paid.status <> 'paid'
     OR returned.credit_micros + NEW.credit_micros > paid.credit_micros
     OR returned.fee_micros + NEW.fee_micros > paid.fee_micros THEN
    RAISE EXCEPTION '% goes beyond what was paid for %', NEW.id, NEW.top_up_id
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_ARGV[0];
  END IF;
  RETURN NEW;
END $$;
DROP TRIGGER refunds_within_payment ON refunds;
CREATE TRIGGER refunds_within_payment BEFORE INSERT ON refunds
  FOR EACH ROW EXECUTE FUNCTION refuse_refund_beyond_payment('refunds_within_payment');
CREATE TRIGGER disputes_within_payment BEFORE UPDATE ON disputes
  FOR EACH ROW WHEN (OLD.credit_micros IS NULL AND NEW.credit_micros IS NOT NULL)
  EXECUTE FUNCTION refuse_refund_beyond_payment('disputes_within_payment');

-- What was taken stays what it was.
CREATE FUNCTION refuse_dispute_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the parts of dispute % are fixed', OLD.id
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'disputes_fixed';
END $$;
CREATE TRIGGER disputes_fixed BEFORE UPDATE ON disputes
  FOR EACH ROW WHEN (
    (OLD.credit_micros IS NOT NULL
      AND (NEW.credit_micros, NEW.fee_micros) IS DISTINCT FROM (OLD.credit_micros, OLD.fee_micros))
    OR (OLD.written_off_micros IS NOT NULL AND NEW.written_off_micros IS DISTINCT FROM OLD.written_off_micros)
    OR (NEW.account_id, NEW.id, NEW.top_up_id, NEW.amount_cents, NEW.reinstatement_lot_id)
      IS DISTINCT FROM (OLD.account_id, OLD.id, OLD.top_up_id, OLD.amount_cents, OLD.reinstatement_lot_id)
  ) EXECUTE FUNCTION refuse_dispute_change();

REVOKE DELETE ON disputes FROM coffer_app;
