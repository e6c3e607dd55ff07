-- What an operator set for one account: image calls and images a minute, calls at the same time. Every change is a row, so
-- the table is its own audit; the newest row of an account is in force. An account that nobody changed has none.
SET LOCAL lock_timeout = '5s';

CREATE TABLE account_limits (
  account_id              text COLLATE "C" NOT NULL,
  -- Counts the changes of an account from 1, without gaps: two operators at the same time cannot both make the same one.
  version                 integer NOT NULL,
  -- Null: as for every account.
  requests_per_minute     integer,
  images_per_minute       integer,
  concurrent_requests     integer,
  reason                  text NOT NULL,
  set_by                  text COLLATE "C" NOT NULL,
  created_at              timestamptz(3) NOT NULL,
  -- Also what every process asks for the accounts that call: the last row of each, one index probe.
  CONSTRAINT account_limits_pkey PRIMARY KEY (account_id, version),
  CONSTRAINT account_limits_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  CONSTRAINT account_limits_version_positive CHECK (version > 0),
  CONSTRAINT account_limits_positive CHECK (
    requests_per_minute > 0 AND images_per_minute > 0 AND concurrent_requests > 0),
  CONSTRAINT account_limits_reason_length CHECK (char_length(reason) BETWEEN 1 AND 200)
);
-- Rows are never changed, so pages are filled whole.

-- An audit only grows.
CREATE FUNCTION refuse_account_limits_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'changes of limits are never rewritten; make another one'
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'account_limits_append_only';
END $$;
CREATE TRIGGER account_limits_append_only BEFORE UPDATE OR DELETE ON account_limits
  FOR EACH ROW EXECUTE FUNCTION refuse_account_limits_change();
REVOKE UPDATE, DELETE ON account_limits FROM coffer_app;
