-- Sales tax that Stripe computes on top of a charge, and where customers find their receipts.
SET LOCAL lock_timeout = '5s';

-- Defaults, because processes of the last version still write rows while this one is rolled out.
ALTER TABLE top_ups
  -- Whether the payment page adds tax; part of the request to Stripe, so it stays.
  ADD COLUMN automatic_tax boolean NOT NULL DEFAULT false,
  -- Paid beside the charge; known when it is paid.
  ADD COLUMN tax_micros bigint NOT NULL DEFAULT 0,
  -- Stripe's pages about the payment.
  ADD COLUMN invoice_url text,
  ADD COLUMN receipt_url text,
  ADD CONSTRAINT top_ups_tax_when_asked CHECK (
    tax_micros >= 0 AND tax_micros % 10000 = 0 AND (automatic_tax OR tax_micros = 0));

CREATE TRIGGER top_ups_tax_settled_once BEFORE UPDATE ON top_ups
  FOR EACH ROW WHEN (
    NEW.automatic_tax IS DISTINCT FROM OLD.automatic_tax
    OR (OLD.status = 'paid' AND NEW.tax_micros IS DISTINCT FROM OLD.tax_micros)
  ) EXECUTE FUNCTION refuse_top_up_change();

-- Every cent that goes back is credit, fee or tax.
ALTER TABLE refunds
  ADD COLUMN tax_micros bigint NOT NULL DEFAULT 0,
  DROP CONSTRAINT refunds_amounts,
  ADD CONSTRAINT refunds_amounts CHECK (
    credit_micros > 0 AND fee_micros >= 0 AND tax_micros >= 0
    AND credit_micros + fee_micros + tax_micros = amount_cents * 10000);

-- Null like the other parts, until the money is withdrawn. What was withdrawn before had no tax in it; a process of the
-- last version that fixes the parts now leaves null, which is none.
ALTER TABLE disputes
  ADD COLUMN tax_micros bigint,
  DROP CONSTRAINT disputes_amounts,
  ADD CONSTRAINT disputes_amounts CHECK (
    amount_cents > 0 AND credit_micros > 0 AND fee_micros >= 0 AND tax_micros >= 0
    AND credit_micros + fee_micros + coalesce(tax_micros, 0) = amount_cents * 10000);

CREATE TRIGGER refunds_tax_fixed BEFORE UPDATE ON refunds
  FOR EACH ROW WHEN (NEW.tax_micros IS DISTINCT FROM OLD.tax_micros) EXECUTE FUNCTION refuse_refund_change();
CREATE TRIGGER disputes_tax_fixed BEFORE UPDATE ON disputes
  FOR EACH ROW WHEN (OLD.credit_micros IS NOT NULL AND NEW.tax_micros IS DISTINCT FROM OLD.tax_micros)
  EXECUTE FUNCTION refuse_dispute_change();

-- No more goes back than was paid: of the tax neither.
CREATE FUNCTION returned_tax_of_top_up(account text, top_up text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(parts.tax_micros), 0)::bigint
    FROM (SELECT r.tax_micros FROM refunds r
           WHERE r.account_id = account AND r.top_up_id = top_up AND r.status NOT IN ('failed', 'refused')
          UNION ALL
          SELECT d.tax_micros FROM disputes d
           WHERE d.account_id = account AND d.top_up_id = top_up
             AND d.credit_micros IS NOT NULL AND d.reinstated_at IS NULL) AS parts
$$;

CREATE OR REPLACE FUNCTION refuse_refund_beyond_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  paid record;
  returned record;
BEGIN
  SELECT status, credit_micros, fee_micros, tax_micros INTO paid FROM top_ups
   WHERE account_id = NEW.account_id AND id = NEW.top_up_id FOR UPDATE;
  SELECT * INTO returned FROM returned_of_top_up(NEW.account_id, NEW.top_up_id);
  IF paid.status <> 'paid'
     OR returned.credit_micros + NEW.credit_micros > paid.credit_micros
     OR returned.fee_micros + NEW.fee_micros > paid.fee_micros
     OR returned_tax_of_top_up(NEW.account_id, NEW.top_up_id) + coalesce(NEW.tax_micros, 0) > paid.tax_micros THEN
    RAISE EXCEPTION '% goes beyond what was paid for %', NEW.id, NEW.top_up_id
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_ARGV[0];
  END IF;
  RETURN NEW;
END $$;
