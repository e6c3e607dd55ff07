-- Whether Stripe is asked for a refund that was requested here is decided once, in the refund's own row. Until now each process that
-- carried it out decided for itself: one that was paused failed a refund after another one had sent it, and one that continued it after a
-- crash did not know what had moved in the account before the crash.
SET LOCAL lock_timeout = '5s';

ALTER TABLE refunds
  ADD COLUMN decisions_before integer,
  ADD COLUMN submitted_at timestamptz(3);

-- An earlier release may have asked Stripe for what it has taken out of the wallet.
UPDATE refunds r SET submitted_at = r.created_at
 WHERE r.status = 'created' AND r.stripe_refund_id IS NULL
   AND EXISTS (SELECT FROM transfers t WHERE t.account_id = r.account_id AND t.reference = 'refund:' || r.id);

-- A refund for which Stripe is asked is neither refused nor interrupted any more.
DROP TRIGGER refunds_fixed ON refunds;
CREATE TRIGGER refunds_fixed BEFORE UPDATE ON refunds
  FOR EACH ROW WHEN (
    (OLD.status IN ('failed', 'refused') AND NEW.status <> OLD.status)
    OR (OLD.status = 'failing' AND NEW.status NOT IN ('failing', 'failed'))
    OR (OLD.failure_decided_at IS NOT NULL AND NEW.failure_decided_at IS DISTINCT FROM OLD.failure_decided_at)
    OR (OLD.submitted_at IS NOT NULL AND NEW.submitted_at IS DISTINCT FROM OLD.submitted_at)
    OR (NEW.status = 'refused' AND (NEW.submitted_at IS NOT NULL OR NEW.stripe_refund_id IS NOT NULL))
    OR (NEW.status = 'failing' AND OLD.status <> 'failing' AND NEW.failure_code = 'wallet_changed'
        AND (NEW.submitted_at IS NOT NULL OR NEW.stripe_refund_id IS NOT NULL))
    OR (NEW.account_id, NEW.id, NEW.top_up_id, NEW.credit_micros, NEW.fee_micros, NEW.amount_cents, NEW.lot_id, NEW.return_lot_id,
        NEW.decisions_before)
      IS DISTINCT FROM
       (OLD.account_id, OLD.id, OLD.top_up_id, OLD.credit_micros, OLD.fee_micros, OLD.amount_cents, OLD.lot_id, OLD.return_lot_id,
        OLD.decisions_before)
  ) EXECUTE FUNCTION refuse_refund_change();

-- A process that was paused can take the credit of a refund that another one has refused; the job gives it back.
CREATE INDEX refunds_refused_idx ON refunds (checked_at) WHERE status = 'refused';
