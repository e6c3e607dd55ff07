-- What an API key may spend in a UTC day, in a UTC month, and ever. The engine changes a budget in the very tx that
-- spends from it, under the wallet's lock; nothing else writes here.
SET LOCAL lock_timeout = '5s';

-- Whose budget a hold takes from; null: no API key of the account asked for it.
ALTER TABLE holds ADD COLUMN key_id text COLLATE "C";

-- Holds that are open now end after this: they give back to the key that asked for them. Resolved ones stay as they
-- are, for nothing may change them; who captured them stands in the ledger.
UPDATE holds h SET key_id = g.api_key_id
  FROM generations g
 WHERE h.status = 'authorized' AND g.account_id = h.account_id AND g.hold_id = h.id;

-- Setting a key's first limit counts its open holds under the wallet's lock. Only open ones are in it, so that a hold
-- enters once and leaves with its resolution.
CREATE INDEX holds_open_key_idx ON holds (account_id, key_id) WHERE status = 'authorized' AND key_id IS NOT NULL;

-- A key without limits has no row.
CREATE TABLE key_budgets (
  account_id          text COLLATE "C" NOT NULL,
  key_id              text COLLATE "C" NOT NULL,
  -- Null: no limit.
  day_limit_micros    bigint,
  month_limit_micros  bigint,
  total_limit_micros  bigint,
  -- The UTC day in which the key last spent, and its month: what the first two of these count.
  day                 date NOT NULL,
  day_used_micros     bigint NOT NULL,
  month_used_micros   bigint NOT NULL,
  total_used_micros   bigint NOT NULL,
  CONSTRAINT key_budgets_pkey PRIMARY KEY (account_id, key_id),
  CONSTRAINT key_budgets_wallet_fkey FOREIGN KEY (account_id) REFERENCES wallets (account_id),
  CONSTRAINT key_budgets_key_id_fkey FOREIGN KEY (key_id) REFERENCES api_keys (id),
  CONSTRAINT key_budgets_limited CHECK (
    day_limit_micros IS NOT NULL OR month_limit_micros IS NOT NULL OR total_limit_micros IS NOT NULL),
  CONSTRAINT key_budgets_limits_positive CHECK (
    day_limit_micros > 0 AND month_limit_micros > 0 AND total_limit_micros > 0),
  -- A day is part of its month, and a month of all time.
  CONSTRAINT key_budgets_used_nested CHECK (
    day_used_micros >= 0 AND month_used_micros >= day_used_micros AND total_used_micros >= month_used_micros)
-- Rewritten by every batch that spends with the key: half of each page is room for the row's next version.
) WITH (fillfactor = 50);

-- A limit may be lowered below what was used, so no check can say that use is within it; but use never grows beyond.
-- A batch may spend before it lowers a limit or after it raises one: the wider of the two is what it was held to.
CREATE FUNCTION refuse_spending_beyond_limit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'key % would have spent beyond its limit', NEW.key_id
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'key_budgets_within_limits';
END $$;
CREATE TRIGGER key_budgets_within_limits BEFORE UPDATE ON key_budgets
  FOR EACH ROW WHEN (
    (NEW.day_used_micros > greatest(coalesce(OLD.day_limit_micros, 9223372036854775807),
                                    coalesce(NEW.day_limit_micros, 9223372036854775807))
      AND (NEW.day <> OLD.day OR NEW.day_used_micros > OLD.day_used_micros))
    OR (NEW.month_used_micros > greatest(coalesce(OLD.month_limit_micros, 9223372036854775807),
                                         coalesce(NEW.month_limit_micros, 9223372036854775807))
      AND (date_trunc('month', NEW.day::timestamp) <> date_trunc('month', OLD.day::timestamp)
        OR NEW.month_used_micros > OLD.month_used_micros))
    OR (NEW.total_used_micros > greatest(coalesce(OLD.total_limit_micros, 9223372036854775807),
                                         coalesce(NEW.total_limit_micros, 9223372036854775807))
      AND NEW.total_used_micros > OLD.total_used_micros)
  ) EXECUTE FUNCTION refuse_spending_beyond_limit();
-- DELETE stays granted: a key whose limits are taken away has no row.
