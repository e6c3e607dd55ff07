-- Accounts, API keys, the ledger and the wallets.
--
-- Ids compare as bytes (COLLATE "C"): the order in which wallets are locked is then the same in every
-- database, whatever its locale. account_id leads every key, so the schema can be distributed by account.
-- Every constraint has a name: database/ and wallets/ map names to errors.
SET LOCAL lock_timeout = '5s';

-- The service runs as this role. It owns nothing, so what is not granted below it cannot do.
-- Roles belong to the whole server: another database of the same server may have made it already.
DO $$
BEGIN
  CREATE ROLE coffer_app NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
-- From PostgreSQL 16 on, whoever makes a role may administer it but not become it: that is granted here.
DO $$
BEGIN
  EXECUTE format('GRANT coffer_app TO %I', current_user);
EXCEPTION WHEN insufficient_privilege THEN
  -- Another login made the role for another database of this server, and must have made us a member.
  IF NOT pg_has_role(current_user, 'coffer_app', 'MEMBER') THEN RAISE; END IF;
END $$;

GRANT USAGE ON SCHEMA public TO coffer_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO coffer_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO coffer_app;

CREATE TABLE accounts (
  id          text COLLATE "C" NOT NULL,
  name        text NOT NULL,
  created_at  timestamptz(3) NOT NULL,
  CONSTRAINT accounts_pkey PRIMARY KEY (id),
  CONSTRAINT accounts_id_form CHECK (id LIKE 'acct\_%'),
  CONSTRAINT accounts_name_length CHECK (char_length(name) BETWEEN 1 AND 200)
);

-- The platform's own book stands in the same ledger, under an account that no customer can be.
INSERT INTO accounts (id, name, created_at) VALUES ('acct_platform', 'Platform', '2026-01-01T00:00:00Z');

CREATE TABLE api_keys (
  id           text COLLATE "C" NOT NULL,
  -- Null: an operator key, which acts on any account.
  account_id   text COLLATE "C",
  name         text NOT NULL,
  -- What a person may see of the key again: its prefix and its last four characters.
  hint         text NOT NULL,
  secret_hash  bytea NOT NULL,
  scopes       text[] NOT NULL,
  created_at   timestamptz(3) NOT NULL,
  expires_at   timestamptz(3),
  revoked_at   timestamptz(3),
  CONSTRAINT api_keys_pkey PRIMARY KEY (id),
  CONSTRAINT api_keys_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  CONSTRAINT api_keys_secret_hash_key UNIQUE (secret_hash),
  CONSTRAINT api_keys_secret_hash_length CHECK (octet_length(secret_hash) = 32),
  CONSTRAINT api_keys_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
  CONSTRAINT api_keys_scopes_of_kind CHECK (
    cardinality(scopes) > 0 AND CASE WHEN account_id IS NULL
      THEN scopes <@ ARRAY['debits', 'finance', 'admin']
      ELSE scopes <@ ARRAY['generate', 'wallet:read', 'wallet:write', 'keys:write'] END)
);
CREATE INDEX api_keys_account_id_idx ON api_keys (account_id, id);

-- One row is one transfer: one ledger account debited, one credited, one positive amount.
CREATE TABLE transfers (
  account_id           text COLLATE "C" NOT NULL,
  seq                  bigint NOT NULL,
  id                   text COLLATE "C" NOT NULL,
  kind                 text COLLATE "C" NOT NULL,
  debit_account        text COLLATE "C" NOT NULL,
  credit_account       text COLLATE "C" NOT NULL,
  amount_micros        bigint NOT NULL,
  lot_id               text COLLATE "C",
  posted_after_micros  bigint NOT NULL,
  reference            text COLLATE "C" NOT NULL,
  leg                  smallint NOT NULL,
  link_id              text COLLATE "C" NOT NULL,
  actor                text COLLATE "C" NOT NULL,
  memo                 text,
  created_at           timestamptz(3) NOT NULL,
  hash                 bytea NOT NULL,
  CONSTRAINT transfers_pkey PRIMARY KEY (account_id, seq),
  -- The money-level idempotency key, for ever.
  CONSTRAINT transfers_reference_key UNIQUE (account_id, reference, leg),
  CONSTRAINT transfers_seq_positive CHECK (seq > 0),
  CONSTRAINT transfers_amount_positive CHECK (amount_micros > 0),
  CONSTRAINT transfers_hash_length CHECK (octet_length(hash) = 32),
  CONSTRAINT transfers_text_length CHECK (char_length(reference) <= 300 AND char_length(memo) <= 500),
  -- The posting rules (ledger/chart-of-accounts.ts holds the same table; a test compares them).
  CONSTRAINT transfers_posting_rule CHECK (CASE kind
    WHEN 'capture'           THEN debit_account IN ('customer_promo', 'customer_credit') AND credit_account = 'usage_revenue'
    WHEN 'debit'             THEN debit_account IN ('customer_promo', 'customer_credit') AND credit_account = 'usage_revenue'
    WHEN 'top_up'            THEN debit_account = 'stripe_clearing' AND credit_account = 'customer_credit'
    WHEN 'top_up_fee'        THEN debit_account = 'stripe_clearing' AND credit_account = 'platform_fee_revenue'
    WHEN 'top_up_tax'        THEN debit_account = 'stripe_clearing' AND credit_account = 'tax_payable'
    WHEN 'grant'             THEN debit_account = 'promotional_credit' AND credit_account = 'customer_promo'
    WHEN 'expiry'            THEN (debit_account = 'customer_promo' AND credit_account = 'promotional_credit')
                               OR (debit_account = 'customer_credit' AND credit_account = 'breakage_revenue')
    WHEN 'refund'            THEN debit_account = 'customer_credit' AND credit_account = 'stripe_clearing'
    WHEN 'refund_fee'        THEN debit_account = 'platform_fee_revenue' AND credit_account = 'stripe_clearing'
    WHEN 'refund_tax'        THEN debit_account = 'tax_payable' AND credit_account = 'stripe_clearing'
    WHEN 'dispute'           THEN debit_account = 'customer_credit' AND credit_account = 'stripe_clearing'
    WHEN 'dispute_fee'       THEN debit_account = 'platform_fee_revenue' AND credit_account = 'stripe_clearing'
    WHEN 'dispute_tax'       THEN debit_account = 'tax_payable' AND credit_account = 'stripe_clearing'
    WHEN 'reinstatement'     THEN debit_account = 'stripe_clearing' AND credit_account = 'customer_credit'
    WHEN 'reinstatement_fee' THEN debit_account = 'stripe_clearing' AND credit_account = 'platform_fee_revenue'
    WHEN 'reinstatement_tax' THEN debit_account = 'stripe_clearing' AND credit_account = 'tax_payable'
    WHEN 'write_off'         THEN debit_account = 'dispute_losses' AND credit_account = 'customer_credit'
    WHEN 'adjustment'        THEN (debit_account = 'goodwill' AND credit_account = 'customer_credit')
                               OR (debit_account = 'customer_credit' AND credit_account = 'goodwill')
    WHEN 'processor_fee'     THEN debit_account = 'processor_fees' AND credit_account = 'stripe_clearing' AND account_id = 'acct_platform'
    WHEN 'payout'            THEN debit_account = 'bank' AND credit_account = 'stripe_clearing' AND account_id = 'acct_platform'
    WHEN 'upstream_cost'     THEN debit_account = 'upstream_cost' AND credit_account = 'upstream_payable' AND account_id = 'acct_platform'
    ELSE false END)
);
-- Rows arrive in time order, so a block-range index finds an export's days at almost no cost per insert.
CREATE INDEX transfers_created_at_idx ON transfers USING brin (created_at) WITH (pages_per_range = 32, autosummarize = on);

CREATE FUNCTION refuse_ledger_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'ledger rows are never changed: % on % refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'transfers_append_only';
END $$;
CREATE TRIGGER transfers_append_only BEFORE UPDATE OR DELETE ON transfers
  FOR EACH ROW EXECUTE FUNCTION refuse_ledger_change();
CREATE TRIGGER transfers_no_truncate BEFORE TRUNCATE ON transfers
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_ledger_change();

-- Only wallets keep a running balance. fillfactor leaves room for the next version of a row in its own page.
CREATE TABLE wallets (
  account_id     text COLLATE "C" NOT NULL,
  status         text COLLATE "C" NOT NULL DEFAULT 'active',
  posted_micros  bigint NOT NULL DEFAULT 0,
  held_micros    bigint NOT NULL DEFAULT 0,
  debt_micros    bigint NOT NULL DEFAULT 0,
  floor_micros   bigint NOT NULL DEFAULT 0,
  -- The head of the account's chain: its length, its last hash, and the time of its last row.
  seq            bigint NOT NULL DEFAULT 0,
  head_hash      bytea NOT NULL DEFAULT decode(repeat('00', 32), 'hex'),
  head_at        timestamptz(3) NOT NULL DEFAULT '1970-01-01T00:00:00Z',
  CONSTRAINT wallets_pkey PRIMARY KEY (account_id),
  CONSTRAINT wallets_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  CONSTRAINT wallets_status_known CHECK (status IN ('active', 'frozen')),
  CONSTRAINT wallets_within_floor CHECK (posted_micros - held_micros >= floor_micros OR status = 'frozen'),
  CONSTRAINT wallets_held_not_negative CHECK (held_micros >= 0),
  CONSTRAINT wallets_debt_not_negative CHECK (debt_micros >= 0),
  CONSTRAINT wallets_floor_not_positive CHECK (floor_micros <= 0),
  CONSTRAINT wallets_seq_not_negative CHECK (seq >= 0),
  CONSTRAINT wallets_head_hash_length CHECK (octet_length(head_hash) = 32)
) WITH (fillfactor = 50);

CREATE TABLE credit_lots (
  account_id        text COLLATE "C" NOT NULL,
  id                text COLLATE "C" NOT NULL,
  kind              text COLLATE "C" NOT NULL,
  source            text COLLATE "C" NOT NULL,
  granted_micros    bigint NOT NULL,
  remaining_micros  bigint NOT NULL,
  priority          smallint NOT NULL DEFAULT 0,
  expires_at        timestamptz(3),
  created_at        timestamptz(3) NOT NULL,
  -- An index over this column finds what can still be spent; it changes once in a lot's life, so the
  -- many updates of remaining_micros stay heap-only and touch no index.
  live              boolean NOT NULL GENERATED ALWAYS AS (remaining_micros > 0) STORED,
  CONSTRAINT credit_lots_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT credit_lots_account_id_fkey FOREIGN KEY (account_id) REFERENCES wallets (account_id),
  CONSTRAINT credit_lots_kind_known CHECK (kind IN ('paid', 'promotional')),
  CONSTRAINT credit_lots_within_grant CHECK (remaining_micros BETWEEN 0 AND granted_micros),
  CONSTRAINT credit_lots_granted_positive CHECK (granted_micros > 0)
) WITH (fillfactor = 50);
CREATE INDEX credit_lots_live_idx ON credit_lots (account_id) WHERE live;
CREATE INDEX credit_lots_expires_at_idx ON credit_lots (expires_at) WHERE live AND expires_at IS NOT NULL;

CREATE TABLE holds (
  account_id       text COLLATE "C" NOT NULL,
  id               text COLLATE "C" NOT NULL,
  reference        text COLLATE "C" NOT NULL,
  -- Which request this was; the same reference with another fingerprint is refused.
  fingerprint      text COLLATE "C" NOT NULL,
  amount_micros    bigint NOT NULL,
  captured_micros  bigint NOT NULL DEFAULT 0,
  status           text COLLATE "C" NOT NULL,
  memo             text,
  created_at       timestamptz(3) NOT NULL,
  expires_at       timestamptz(3) NOT NULL,
  resolved_at      timestamptz(3),
  CONSTRAINT holds_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT holds_account_id_fkey FOREIGN KEY (account_id) REFERENCES wallets (account_id),
  CONSTRAINT holds_reference_key UNIQUE (account_id, reference),
  CONSTRAINT holds_amount_positive CHECK (amount_micros > 0),
  CONSTRAINT holds_status_known CHECK (status IN ('authorized', 'captured', 'voided', 'expired')),
  CONSTRAINT holds_resolved_once CHECK ((status = 'authorized') = (resolved_at IS NULL)),
  CONSTRAINT holds_captured_within CHECK (
    CASE WHEN status = 'captured' THEN captured_micros BETWEEN 1 AND amount_micros ELSE captured_micros = 0 END),
  CONSTRAINT holds_text_length CHECK (char_length(reference) <= 300 AND char_length(memo) <= 500)
) WITH (fillfactor = 80);
-- A hold is captured and voided by its id alone.
CREATE INDEX holds_id_idx ON holds (id);
CREATE INDEX holds_open_idx ON holds (expires_at) WHERE status = 'authorized';

-- A resolved hold never moves again, whoever writes.
CREATE FUNCTION refuse_second_resolution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'hold % is %: it is resolved once', OLD.id, OLD.status
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'holds_terminal';
END $$;
CREATE TRIGGER holds_terminal BEFORE UPDATE ON holds
  FOR EACH ROW WHEN (OLD.status <> 'authorized') EXECUTE FUNCTION refuse_second_resolution();

-- Who froze or unfroze a wallet, and why.
CREATE TABLE wallet_status_changes (
  account_id  text COLLATE "C" NOT NULL,
  id          text COLLATE "C" NOT NULL,
  status      text COLLATE "C" NOT NULL,
  actor       text COLLATE "C" NOT NULL,
  reason      text NOT NULL,
  created_at  timestamptz(3) NOT NULL,
  CONSTRAINT wallet_status_changes_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT wallet_status_changes_account_id_fkey FOREIGN KEY (account_id) REFERENCES wallets (account_id),
  CONSTRAINT wallet_status_changes_status_known CHECK (status IN ('active', 'frozen'))
);

-- The books only grow.
REVOKE UPDATE, DELETE ON transfers, wallet_status_changes FROM coffer_app;
REVOKE DELETE ON accounts, api_keys, wallets, credit_lots, holds FROM coffer_app;
REVOKE ALL ON migrations FROM coffer_app;
