-- A bank may take back a payment that was never credited. Its review names the dispute, so that the dispute opens it once.
SET LOCAL lock_timeout = '5s';

ALTER TABLE payment_reviews ADD COLUMN dispute_id text COLLATE "C";

-- A payment that was sent back in Stripe's dashboard, or dismissed, waits for a person again when the bank returns the refund
-- or takes the payment: then it was never sent back from here. The new condition is weaker than the old one.
ALTER TABLE payment_reviews DROP CONSTRAINT payment_reviews_returns_counted;
ALTER TABLE payment_reviews ADD CONSTRAINT payment_reviews_returns_counted
  CHECK (returns >= 0 AND (returns > 0 OR status <> 'returning')) NOT VALID;
ALTER TABLE payment_reviews VALIDATE CONSTRAINT payment_reviews_returns_counted;

-- What was dismissed waits again also when a bank takes the payment, or gives it back.
DROP TRIGGER payment_reviews_decided_once ON payment_reviews;
CREATE TRIGGER payment_reviews_decided_once BEFORE UPDATE ON payment_reviews
  FOR EACH ROW WHEN (
    (OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
      ('open', 'returning'), ('open', 'returned'), ('open', 'dismissed'), ('open', 'credited'),
      ('returning', 'returned'), ('returning', 'failed'), ('returned', 'failed'),
      ('failed', 'returning'), ('failed', 'returned'), ('failed', 'dismissed'),
      ('dismissed', 'open'), ('dismissed', 'failed')))
    OR (NEW.account_id, NEW.id, NEW.top_up_id, NEW.payment) IS DISTINCT FROM
       (OLD.account_id, OLD.id, OLD.top_up_id, OLD.payment)
  ) EXECUTE FUNCTION refuse_payment_review_change();
