-- Debt that a dispute or a refund left is written off as often as there is some, each time under a reference of its own. What was
-- written off for a dispute stood in its row as well, copied after the ledger had it: a process that ended in between left
-- the copy behind. The ledger alone says it now.
SET LOCAL lock_timeout = '5s';

-- An older engine finds write-offs by the references that it would give them: it would give up more than was taken.
LOCK TABLE wallets, holds, transfers IN SHARE ROW EXCLUSIVE MODE;
CREATE OR REPLACE FUNCTION required_engine_version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 3';

DROP TRIGGER disputes_fixed ON disputes;
CREATE TRIGGER disputes_fixed BEFORE UPDATE ON disputes
  FOR EACH ROW WHEN (
    (OLD.credit_micros IS NOT NULL
      AND (NEW.credit_micros, NEW.fee_micros) IS DISTINCT FROM (OLD.credit_micros, OLD.fee_micros))
    OR (NEW.account_id, NEW.id, NEW.top_up_id, NEW.amount_cents, NEW.reinstatement_lot_id)
      IS DISTINCT FROM (OLD.account_id, OLD.id, OLD.top_up_id, OLD.amount_cents, OLD.reinstatement_lot_id)
  ) EXECUTE FUNCTION refuse_dispute_change();
ALTER TABLE disputes DROP COLUMN written_off_micros;
