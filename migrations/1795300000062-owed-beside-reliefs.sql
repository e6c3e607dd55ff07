-- What a relief would not have paid without money that came back follows from the whole history now: from what was owed beside it when it
-- was posted, which never changes. Until now each return lowered it, and what an earlier release wrote off had none. It follows from
-- the ledger: what of the lots of that time was left, less what was posted.
SET LOCAL lock_timeout = '5s';

-- An older engine would lower it again.
LOCK TABLE wallets, holds, transfers IN SHARE ROW EXCLUSIVE MODE;
CREATE OR REPLACE FUNCTION required_engine_version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 4';

DROP TRIGGER debt_reliefs_fixed ON debt_reliefs;
WITH moved AS (
  SELECT t.account_id, t.lot_id, min(t.seq) AS first_seq
    FROM transfers t
   WHERE t.account_id IN (SELECT account_id FROM debt_reliefs) AND t.lot_id IS NOT NULL
   GROUP BY t.account_id, t.lot_id
), owed AS (
  SELECT r.account_id, r.seq, p.posted_after_micros,
         -- A lot's first row grants it. What it never had, because it paid debt, is in none of these.
         (SELECT coalesce(sum(l.remaining_micros + (
                   SELECT coalesce(sum(b.amount_micros), 0) FROM transfers b
                    WHERE b.account_id = l.account_id AND b.lot_id = l.id AND b.seq > r.seq AND b.seq > m.first_seq)), 0)
            FROM moved m JOIN credit_lots l ON l.account_id = m.account_id AND l.id = m.lot_id
           WHERE m.account_id = r.account_id AND m.first_seq <= r.seq) AS lots_micros
    FROM debt_reliefs r JOIN transfers p ON p.account_id = r.account_id AND p.seq = r.seq
)
UPDATE debt_reliefs r SET owed_beside_micros = greatest(0, o.lots_micros - o.posted_after_micros)
  FROM owed o WHERE o.account_id = r.account_id AND o.seq = r.seq;
CREATE TRIGGER debt_reliefs_fixed BEFORE UPDATE ON debt_reliefs
  FOR EACH ROW WHEN (
    NEW.undone_micros < OLD.undone_micros
    OR (NEW.account_id, NEW.seq, NEW.reference, NEW.kind, NEW.amount_micros, NEW.owed_beside_micros)
      IS DISTINCT FROM (OLD.account_id, OLD.seq, OLD.reference, OLD.kind, OLD.amount_micros, OLD.owed_beside_micros)
  ) EXECUTE FUNCTION refuse_relief_change();

-- What was undone until now followed other rules: the doctor names there only what is missing.
INSERT INTO reliefs_carried_over
SELECT DISTINCT account_id FROM debt_reliefs ON CONFLICT DO NOTHING;
