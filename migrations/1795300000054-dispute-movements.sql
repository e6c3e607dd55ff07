-- Stripe may take the money of a dispute more than once, and give it back in parts. Until now a dispute was taken once and given
-- back once, whole. Each movement is a row now, booked once under its own reference.
SET LOCAL lock_timeout = '5s';

CREATE TABLE dispute_movements (
  account_id              text COLLATE "C" NOT NULL,
  dispute_id              text COLLATE "C" NOT NULL,
  -- In the order in which they are booked.
  number                  integer NOT NULL,
  -- Stripe's. Null of a row that an earlier release decided, until Stripe tells of it again, and where no money moved at Stripe:
  -- what was taken beyond the payment is not beyond it any more.
  balance_transaction_id  text COLLATE "C",
  -- Below zero out of our balance, and so are its parts.
  amount_cents            bigint NOT NULL,
  credit_micros           bigint NOT NULL,
  fee_micros              bigint NOT NULL,
  tax_micros              bigint NOT NULL,
  excess_micros           bigint NOT NULL,
  -- The ledger's.
  reference               text COLLATE "C" NOT NULL,
  -- The lot that credit which comes back is bought as; null of what is taken.
  lot_id                  text COLLATE "C",
  created_at              timestamptz(3) NOT NULL,
  -- When the ledger had it.
  booked_at               timestamptz(3),
  CONSTRAINT dispute_movements_pkey PRIMARY KEY (account_id, dispute_id, number),
  CONSTRAINT dispute_movements_reference_key UNIQUE (account_id, reference),
  CONSTRAINT dispute_movements_balance_transaction_key UNIQUE (balance_transaction_id),
  CONSTRAINT dispute_movements_dispute_fkey FOREIGN KEY (account_id, dispute_id) REFERENCES disputes (account_id, id),
  CONSTRAINT dispute_movements_amounts CHECK (
    credit_micros + fee_micros + tax_micros + excess_micros = amount_cents * 10000
    AND credit_micros % 10000 = 0 AND fee_micros % 10000 = 0 AND tax_micros % 10000 = 0
    AND CASE sign(amount_cents)
          WHEN -1 THEN greatest(credit_micros, fee_micros, tax_micros, excess_micros) <= 0 AND lot_id IS NULL
          WHEN 1 THEN least(credit_micros, fee_micros, tax_micros, excess_micros) >= 0 AND lot_id IS NOT NULL
          ELSE greatest(credit_micros, fee_micros, tax_micros) <= 0 AND excess_micros > 0 AND lot_id IS NULL
               AND balance_transaction_id IS NULL END)
);

CREATE FUNCTION refuse_dispute_movement_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the movement % is kept as it was decided', OLD.reference
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'dispute_movements_fixed';
END $$;
CREATE TRIGGER dispute_movements_fixed BEFORE UPDATE ON dispute_movements
  FOR EACH ROW WHEN (
    (OLD.balance_transaction_id IS NOT NULL AND NEW.balance_transaction_id IS DISTINCT FROM OLD.balance_transaction_id)
    OR (OLD.booked_at IS NOT NULL AND NEW.booked_at IS DISTINCT FROM OLD.booked_at)
    OR (NEW.account_id, NEW.dispute_id, NEW.number, NEW.amount_cents, NEW.credit_micros, NEW.fee_micros, NEW.tax_micros,
        NEW.excess_micros, NEW.reference, NEW.lot_id, NEW.created_at)
      IS DISTINCT FROM
       (OLD.account_id, OLD.dispute_id, OLD.number, OLD.amount_cents, OLD.credit_micros, OLD.fee_micros, OLD.tax_micros,
        OLD.excess_micros, OLD.reference, OLD.lot_id, OLD.created_at)
  ) EXECUTE FUNCTION refuse_dispute_movement_change();

-- What of a payment is gone: by refunds, and by disputes as far as it did not come back.
CREATE OR REPLACE FUNCTION returned_of_top_up(account text, top_up text, OUT credit_micros bigint, OUT fee_micros bigint)
LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(parts.credit_micros), 0)::bigint, coalesce(sum(parts.fee_micros), 0)::bigint
    FROM (SELECT r.credit_micros, r.fee_micros FROM refunds r
           WHERE r.account_id = account AND r.top_up_id = top_up AND r.status NOT IN ('failed', 'refused')
          UNION ALL
          SELECT -m.credit_micros, -m.fee_micros FROM disputes d
            JOIN dispute_movements m ON m.account_id = d.account_id AND m.dispute_id = d.id
           WHERE d.account_id = account AND d.top_up_id = top_up) AS parts
$$;
CREATE OR REPLACE FUNCTION returned_tax_of_top_up(account text, top_up text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(parts.tax_micros), 0)::bigint
    FROM (SELECT r.tax_micros FROM refunds r
           WHERE r.account_id = account AND r.top_up_id = top_up AND r.status NOT IN ('failed', 'refused')
          UNION ALL
          SELECT -m.tax_micros FROM disputes d
            JOIN dispute_movements m ON m.account_id = d.account_id AND m.dispute_id = d.id
           WHERE d.account_id = account AND d.top_up_id = top_up) AS parts
$$;

-- No more is taken than was paid, and no more comes back than was taken. Of what is decided: a copy of what is booked is no decision.
CREATE FUNCTION refuse_movement_beyond_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  paid record;
  returned record;
  held record;
BEGIN
  SELECT t.id, t.status, t.credit_micros, t.fee_micros, t.tax_micros INTO paid
    FROM top_ups t JOIN disputes d ON d.account_id = t.account_id AND d.top_up_id = t.id
   WHERE d.account_id = NEW.account_id AND d.id = NEW.dispute_id FOR UPDATE OF t;
  SELECT * INTO returned FROM returned_of_top_up(NEW.account_id, paid.id);
  SELECT coalesce(sum(m.credit_micros), 0) AS credit_micros, coalesce(sum(m.fee_micros), 0) AS fee_micros,
         coalesce(sum(m.tax_micros), 0) AS tax_micros INTO held
    FROM dispute_movements m WHERE m.account_id = NEW.account_id AND m.dispute_id = NEW.dispute_id;
  IF paid.status <> 'paid'
     OR returned.credit_micros - NEW.credit_micros > paid.credit_micros
     OR returned.fee_micros - NEW.fee_micros > paid.fee_micros
     OR returned_tax_of_top_up(NEW.account_id, paid.id) - NEW.tax_micros > paid.tax_micros
     OR greatest(held.credit_micros + NEW.credit_micros, held.fee_micros + NEW.fee_micros, held.tax_micros + NEW.tax_micros) > 0 THEN
    RAISE EXCEPTION '% goes beyond what was paid for %, or what was taken', NEW.reference, paid.id
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'disputes_within_payment';
  END IF;
  RETURN NEW;
END $$;
DROP TRIGGER disputes_within_payment ON disputes;
CREATE TRIGGER disputes_within_payment BEFORE INSERT ON dispute_movements
  FOR EACH ROW WHEN (NEW.booked_at IS NULL) EXECUTE FUNCTION refuse_movement_beyond_payment();

-- The first movement each way stands in the dispute's row as well, where processes of an earlier release write it and nowhere else.
CREATE FUNCTION follow_dispute_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  taken CONSTANT text := 'dispute:' || NEW.id || ':withdrawn';
  returned CONSTANT text := 'dispute:' || NEW.id || ':reinstated';
  tax CONSTANT bigint := coalesce(NEW.tax_micros, 0);
  cents CONSTANT bigint := (NEW.credit_micros + NEW.fee_micros + coalesce(NEW.tax_micros, 0) + NEW.excess_micros) / 10000;
BEGIN
  INSERT INTO dispute_movements (account_id, dispute_id, number, amount_cents, credit_micros, fee_micros, tax_micros,
                                 excess_micros, reference, created_at, booked_at)
  SELECT NEW.account_id, NEW.id, 1, -cents, -NEW.credit_micros, -NEW.fee_micros, -tax, -NEW.excess_micros, taken,
         coalesce(NEW.withdrawn_at, NEW.checked_at), NEW.withdrawn_at
   WHERE NEW.credit_micros IS NOT NULL
     AND NOT EXISTS (SELECT FROM dispute_movements m WHERE m.account_id = NEW.account_id AND m.reference = taken);
  INSERT INTO dispute_movements (account_id, dispute_id, number, amount_cents, credit_micros, fee_micros, tax_micros,
                                 excess_micros, reference, lot_id, created_at, booked_at)
  SELECT NEW.account_id, NEW.id,
         (SELECT max(m.number) + 1 FROM dispute_movements m WHERE m.account_id = NEW.account_id AND m.dispute_id = NEW.id),
         cents, NEW.credit_micros, NEW.fee_micros, tax, NEW.excess_micros, returned, NEW.reinstatement_lot_id,
         NEW.reinstated_at, NEW.reinstated_at
   WHERE NEW.reinstated_at IS NOT NULL
     AND NOT EXISTS (SELECT FROM dispute_movements m WHERE m.account_id = NEW.account_id AND m.reference = returned);
  UPDATE dispute_movements m SET booked_at = NEW.withdrawn_at
   WHERE m.account_id = NEW.account_id AND m.reference = taken AND m.booked_at IS NULL AND NEW.withdrawn_at IS NOT NULL;
  RETURN NULL;
END $$;
CREATE TRIGGER disputes_followed AFTER INSERT OR UPDATE OF credit_micros, withdrawn_at, reinstated_at ON disputes
  FOR EACH ROW EXECUTE FUNCTION follow_dispute_row();

-- What is there already.
INSERT INTO dispute_movements (account_id, dispute_id, number, amount_cents, credit_micros, fee_micros, tax_micros,
                               excess_micros, reference, lot_id, created_at, booked_at)
SELECT account_id, id, number, sign * (credit_micros + fee_micros + coalesce(tax_micros, 0) + excess_micros) / 10000,
       sign * credit_micros, sign * fee_micros, sign * coalesce(tax_micros, 0), sign * excess_micros,
       'dispute:' || id || CASE number WHEN 1 THEN ':withdrawn' ELSE ':reinstated' END,
       CASE number WHEN 2 THEN reinstatement_lot_id END,
       CASE number WHEN 1 THEN coalesce(withdrawn_at, checked_at) ELSE reinstated_at END,
       CASE number WHEN 1 THEN withdrawn_at ELSE reinstated_at END
  FROM disputes, (VALUES (1, -1), (2, 1)) AS each (number, sign)
 WHERE credit_micros IS NOT NULL AND (number = 1 OR reinstated_at IS NOT NULL);
UPDATE dispute_movements m SET balance_transaction_id = b.id
  FROM (SELECT DISTINCT ON (source_id, sign(amount_cents)) source_id, sign(amount_cents) AS sign, id
          FROM stripe_balance_transactions WHERE type = 'adjustment' AND currency = 'usd' AND amount_cents <> 0
         ORDER BY source_id, sign(amount_cents), created_at, id) b
 WHERE b.source_id = m.dispute_id AND b.sign = sign(m.amount_cents);

-- What the first withdrawal takes need not be all that is disputed, and what is written off may grow.
ALTER TABLE disputes DROP CONSTRAINT disputes_amounts;
ALTER TABLE disputes ADD CONSTRAINT disputes_amounts CHECK (
  amount_cents > 0 AND credit_micros >= 0 AND fee_micros >= 0 AND tax_micros >= 0 AND excess_micros >= 0
  AND (credit_micros > 0 OR excess_micros > 0)) NOT VALID;
ALTER TABLE disputes VALIDATE CONSTRAINT disputes_amounts;
DROP TRIGGER disputes_fixed ON disputes;
CREATE TRIGGER disputes_fixed BEFORE UPDATE ON disputes
  FOR EACH ROW WHEN (
    (OLD.credit_micros IS NOT NULL
      AND (NEW.credit_micros, NEW.fee_micros) IS DISTINCT FROM (OLD.credit_micros, OLD.fee_micros))
    OR (OLD.written_off_micros IS NOT NULL AND (NEW.written_off_micros >= OLD.written_off_micros) IS NOT TRUE)
    OR (NEW.account_id, NEW.id, NEW.top_up_id, NEW.amount_cents, NEW.reinstatement_lot_id)
      IS DISTINCT FROM (OLD.account_id, OLD.id, OLD.top_up_id, OLD.amount_cents, OLD.reinstatement_lot_id)
  ) EXECUTE FUNCTION refuse_dispute_change();

REVOKE DELETE ON dispute_movements FROM coffer_app;
