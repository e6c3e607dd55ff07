-- What operators, and keys that manage an account, have done: each act is a row, written in the act's own commit. Rows are put
-- into a hash chain afterwards (ADR 40): `audit_seals` gives each its place, so that no act waits for another one.
SET LOCAL lock_timeout = '5s';

CREATE TABLE audit_events (
  -- In the order of arrival; what was rolled back leaves gaps.
  number          bigint GENERATED ALWAYS AS IDENTITY,
  id              text COLLATE "C" NOT NULL,
  -- The database's clock; the service cannot write another time (src/database/privileges.ts).
  at              timestamptz(3) NOT NULL DEFAULT date_trunc('milliseconds', clock_timestamp()),
  -- `operator_key:key_…`, `account_key:key_…`, `cli:<login>` or `system`, as the ledger names actors.
  actor           text COLLATE "C" NOT NULL,
  act             text COLLATE "C" NOT NULL,
  object_type     text COLLATE "C" NOT NULL,
  object_id       text COLLATE "C" NOT NULL,
  -- Whose account it concerns; null: the platform's own. No foreign key: a record waits for no other row.
  account_id      text COLLATE "C",
  -- What changed, and nothing secret.
  before          jsonb,
  after           jsonb,
  reason          text,
  request_id      text COLLATE "C",
  client_address  text COLLATE "C",
  CONSTRAINT audit_events_pkey PRIMARY KEY (number),
  CONSTRAINT audit_events_id_key UNIQUE (id),
  CONSTRAINT audit_events_act_form CHECK (act ~ '^[a-z_]+\.[a-z_]+$'),
  CONSTRAINT audit_events_objects CHECK (
    (before IS NULL OR jsonb_typeof(before) = 'object') AND (after IS NULL OR jsonb_typeof(after) = 'object'))
);
CREATE INDEX audit_events_account_idx ON audit_events (account_id, id);
CREATE INDEX audit_events_actor_idx ON audit_events (actor, id);
CREATE INDEX audit_events_act_idx ON audit_events (act, id);

CREATE TABLE audit_seals (
  -- The place in the chain: 1, 2, 3 … without a gap.
  seq           bigint NOT NULL,
  event_number  bigint NOT NULL,
  -- SHA-256 over the hash before it and the event (src/audit/README.md).
  hash          bytea NOT NULL,
  CONSTRAINT audit_seals_pkey PRIMARY KEY (seq),
  CONSTRAINT audit_seals_event_number_key UNIQUE (event_number),
  CONSTRAINT audit_seals_event_number_fkey FOREIGN KEY (event_number) REFERENCES audit_events (number),
  CONSTRAINT audit_seals_seq_positive CHECK (seq > 0),
  CONSTRAINT audit_seals_hash_length CHECK (octet_length(hash) = 32)
);

CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is never changed: % on % refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_TABLE_NAME || '_append_only';
END $$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE ON audit_events
  FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_events_no_truncate BEFORE TRUNCATE ON audit_events
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_seals_append_only BEFORE UPDATE OR DELETE ON audit_seals
  FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_seals_no_truncate BEFORE TRUNCATE ON audit_seals
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();
