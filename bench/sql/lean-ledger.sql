-- What somebody would write who needs prepaid balances and nothing else: customers, their balances, and the entries that
-- explain them, each with a reference that is used once and a hash that follows the previous one. No lots, no holds, no
-- triggers, no roles; the database refuses a negative balance.
CREATE TABLE accounts (
  id          text COLLATE "C" PRIMARY KEY,
  name        text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE balances (
  account_id      text COLLATE "C" PRIMARY KEY REFERENCES accounts (id),
  balance_micros  bigint NOT NULL CHECK (balance_micros >= 0),
  seq             bigint NOT NULL,
  head_hash       bytea NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE entries (
  account_id            text COLLATE "C" NOT NULL,
  seq                   bigint NOT NULL,
  reference             text COLLATE "C" NOT NULL,
  amount_micros         bigint NOT NULL CHECK (amount_micros <> 0),
  balance_after_micros  bigint NOT NULL,
  memo                  text,
  created_at            timestamptz NOT NULL DEFAULT now(),
  hash                  bytea NOT NULL,
  PRIMARY KEY (account_id, seq),
  UNIQUE (account_id, reference)
);
