-- Debt that was paid with what nobody bought: written off, or paid with credit that was given. Until now a write-off was owed again
-- when the money of its own dispute or refund came back, and no other. But a dispute takes the lots of other payments too, so
-- the debt may stand under another one, and the customer had both: the debt forgiven, and the money.
SET LOCAL lock_timeout = '5s';

CREATE TABLE debt_reliefs (
  account_id          text COLLATE "C" NOT NULL,
  -- The row of the ledger that paid the debt.
  seq                 bigint NOT NULL,
  reference           text COLLATE "C" NOT NULL,
  kind                text COLLATE "C" NOT NULL,
  amount_micros       bigint NOT NULL,
  -- What was owed beside it and is not covered by money that came back since.
  owed_beside_micros  bigint NOT NULL,
  undone_micros       bigint NOT NULL,
  CONSTRAINT debt_reliefs_pkey PRIMARY KEY (account_id, seq),
  CONSTRAINT debt_reliefs_transfer_fkey FOREIGN KEY (account_id, seq) REFERENCES transfers (account_id, seq),
  CONSTRAINT debt_reliefs_kind_known CHECK (kind IN ('write_off', 'given_credit')),
  CONSTRAINT debt_reliefs_amounts CHECK (
    amount_micros > 0 AND owed_beside_micros >= 0 AND undone_micros BETWEEN 0 AND amount_micros)
);

CREATE FUNCTION refuse_relief_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the relief % of % is kept as it was posted, and what is undone of it stays undone', OLD.seq, OLD.account_id
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'debt_reliefs_fixed';
END $$;
CREATE TRIGGER debt_reliefs_fixed BEFORE UPDATE ON debt_reliefs
  FOR EACH ROW WHEN (
    NEW.undone_micros < OLD.undone_micros OR NEW.owed_beside_micros > OLD.owed_beside_micros
    OR (NEW.account_id, NEW.seq, NEW.reference, NEW.kind, NEW.amount_micros)
      IS DISTINCT FROM (OLD.account_id, OLD.seq, OLD.reference, OLD.kind, OLD.amount_micros)
  ) EXECUTE FUNCTION refuse_relief_change();

-- An older engine would post reliefs that nothing could undo.
LOCK TABLE wallets, holds, transfers IN SHARE ROW EXCLUSIVE MODE;
CREATE OR REPLACE FUNCTION required_engine_version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 2';

-- What was written off already. What of it is owed again was so for its own dispute or refund, the oldest first. What was owed
-- beside it nobody wrote down: it counts as nothing, so that money which comes back undoes the write-off first.
WITH written_off AS (
  SELECT account_id, seq, reference, amount_micros, left(reference, strpos(reference, ':written_off') - 1) AS source,
         sum(amount_micros) OVER (PARTITION BY account_id, left(reference, strpos(reference, ':written_off') - 1)
                                  ORDER BY seq) - amount_micros AS before
    FROM transfers WHERE kind = 'write_off'
), owed_again AS (
  SELECT account_id, left(reference, strpos(reference, ':written_off') - 1) AS source, sum(amount_micros) AS amount_micros
    FROM transfers WHERE kind = 'write_off_reversal' GROUP BY 1, 2
)
INSERT INTO debt_reliefs (account_id, seq, reference, kind, amount_micros, owed_beside_micros, undone_micros)
SELECT w.account_id, w.seq, w.reference, 'write_off', w.amount_micros, 0,
       greatest(0, least(w.amount_micros, coalesce(r.amount_micros, 0) - w.before))
  FROM written_off w LEFT JOIN owed_again r ON r.account_id = w.account_id AND r.source = w.source;

-- Given credit that paid debt: what its lot never had. Money that comes back for it goes to no card. Of money that had come back
-- before, what had been spent when it was taken is in lots that go to no card either: that may be the customer's own, and stands for
-- given credit only where some was given.
WITH moved AS (
  SELECT account_id, lot_id, min(seq) AS seq, min(reference) FILTER (WHERE credit_account = 'customer_credit') AS reference,
         coalesce(sum(amount_micros) FILTER (WHERE debit_account = 'customer_credit'), 0) AS taken
    FROM transfers WHERE lot_id IS NOT NULL AND 'customer_credit' IN (debit_account, credit_account)
   GROUP BY account_id, lot_id
)
INSERT INTO debt_reliefs (account_id, seq, reference, kind, amount_micros, owed_beside_micros, undone_micros)
SELECT l.account_id, m.seq, m.reference, 'given_credit', l.granted_micros - l.remaining_micros - m.taken, 0, 0
  FROM credit_lots l JOIN moved m ON m.account_id = l.account_id AND m.lot_id = l.id
 WHERE l.kind = 'paid' AND NOT l.refundable AND l.granted_micros - l.remaining_micros > m.taken
   AND (l.source = 'adjustment' OR l.source = 'reinstatement' AND EXISTS (
          SELECT FROM credit_lots g JOIN moved gm ON gm.account_id = g.account_id AND gm.lot_id = g.id
           WHERE g.account_id = l.account_id AND g.source = 'adjustment' AND g.granted_micros - g.remaining_micros > gm.taken));
