-- A refund that fails is decided before its credit is booked. From that moment on its money is the payment's again, and what disputes
-- took beyond the payment is covered with it in the same commit. Until now another dispute that was won between the booking and the
-- status gave back its loss alone, and the customer kept credit that somebody had given and could refund it to a card.
SET LOCAL lock_timeout = '5s';

-- An older process would book a failure before its status, between which the old order of bookings goes wrong again.
LOCK TABLE wallets, holds, transfers IN SHARE ROW EXCLUSIVE MODE;
CREATE OR REPLACE FUNCTION required_engine_version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 5';

-- What was decided and is not booked after a crash; small, whatever the size of the table.
CREATE INDEX dispute_movements_unbooked_idx ON dispute_movements (created_at) WHERE booked_at IS NULL;

ALTER TABLE refunds
  ADD COLUMN failure_decided_at timestamptz(3),
  DROP CONSTRAINT refunds_status_known,
  ADD CONSTRAINT refunds_status_known CHECK (
    status IN ('created', 'pending', 'succeeded', 'failing', 'failed', 'refused', 'needs_review')),
  ADD CONSTRAINT refunds_failing_decided CHECK (status <> 'failing' OR failure_decided_at IS NOT NULL);

DROP INDEX refunds_open_idx;
CREATE INDEX refunds_open_idx ON refunds (checked_at) WHERE status IN ('created', 'pending', 'failing', 'needs_review');

-- What fails never becomes anything but failed, and the moment of the decision orders the bookings of its payment.
DROP TRIGGER refunds_fixed ON refunds;
CREATE TRIGGER refunds_fixed BEFORE UPDATE ON refunds
  FOR EACH ROW WHEN (
    (OLD.status IN ('failed', 'refused') AND NEW.status <> OLD.status)
    OR (OLD.status = 'failing' AND NEW.status NOT IN ('failing', 'failed'))
    OR (OLD.failure_decided_at IS NOT NULL AND NEW.failure_decided_at IS DISTINCT FROM OLD.failure_decided_at)
    OR (NEW.account_id, NEW.id, NEW.top_up_id, NEW.credit_micros, NEW.fee_micros, NEW.amount_cents, NEW.lot_id, NEW.return_lot_id)
      IS DISTINCT FROM
       (OLD.account_id, OLD.id, OLD.top_up_id, OLD.credit_micros, OLD.fee_micros, OLD.amount_cents, OLD.lot_id, OLD.return_lot_id)
  ) EXECUTE FUNCTION refuse_refund_change();

-- What of a payment is gone: by refunds that did not fail, and by disputes as far as it did not come back.
CREATE OR REPLACE FUNCTION returned_of_top_up(account text, top_up text, OUT credit_micros bigint, OUT fee_micros bigint)
LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(parts.credit_micros), 0)::bigint, coalesce(sum(parts.fee_micros), 0)::bigint
    FROM (SELECT r.credit_micros, r.fee_micros FROM refunds r
           WHERE r.account_id = account AND r.top_up_id = top_up AND r.status NOT IN ('failing', 'failed', 'refused')
          UNION ALL
          SELECT -m.credit_micros, -m.fee_micros FROM disputes d
            JOIN dispute_movements m ON m.account_id = d.account_id AND m.dispute_id = d.id
           WHERE d.account_id = account AND d.top_up_id = top_up) AS parts
$$;
CREATE OR REPLACE FUNCTION returned_tax_of_top_up(account text, top_up text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(sum(parts.tax_micros), 0)::bigint
    FROM (SELECT r.tax_micros FROM refunds r
           WHERE r.account_id = account AND r.top_up_id = top_up AND r.status NOT IN ('failing', 'failed', 'refused')
          UNION ALL
          SELECT -m.tax_micros FROM disputes d
            JOIN dispute_movements m ON m.account_id = d.account_id AND m.dispute_id = d.id
           WHERE d.account_id = account AND d.top_up_id = top_up) AS parts
$$;
