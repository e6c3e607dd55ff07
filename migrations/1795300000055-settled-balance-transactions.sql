-- Money that Stripe moved for a payment and that no book can have, such as out of a balance in another currency, waits for a person.
-- What was decided about it, by whom and why: kept as it was, and the newest counts.
SET LOCAL lock_timeout = '5s';

CREATE TABLE stripe_balance_settlements (
  balance_transaction_id  text COLLATE "C" NOT NULL,
  number                  integer NOT NULL,
  -- In whose book it would stand.
  account_id              text COLLATE "C" NOT NULL,
  -- The correction in that book; null: none was needed.
  settled_by              text COLLATE "C",
  actor                   text COLLATE "C" NOT NULL,
  reason                  text NOT NULL,
  decided_at              timestamptz(3) NOT NULL,
  CONSTRAINT stripe_balance_settlements_pkey PRIMARY KEY (balance_transaction_id, number),
  CONSTRAINT stripe_balance_settlements_transaction_fkey FOREIGN KEY (balance_transaction_id)
    REFERENCES stripe_balance_transactions (id),
  CONSTRAINT stripe_balance_settlements_text_length CHECK (
    char_length(reason) BETWEEN 1 AND 500 AND char_length(settled_by) BETWEEN 1 AND 300)
);

CREATE FUNCTION refuse_balance_settlement_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'what was decided about % is kept', OLD.balance_transaction_id
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'stripe_balance_settlements_append_only';
END $$;
CREATE TRIGGER stripe_balance_settlements_append_only BEFORE UPDATE OR DELETE ON stripe_balance_settlements
  FOR EACH ROW EXECUTE FUNCTION refuse_balance_settlement_change();

REVOKE UPDATE, DELETE ON stripe_balance_settlements FROM coffer_app;
