-- Why a wallet is frozen: a set of reasons, each lifted by whoever brought it. Until now one bit stood for all of them,
-- so a won dispute unfroze what an operator or a fraud warning had frozen.
SET LOCAL lock_timeout = '5s';

CREATE TABLE wallet_freezes (
  account_id     text COLLATE "C" NOT NULL,
  id             text COLLATE "C" NOT NULL,
  source         text COLLATE "C" NOT NULL,
  -- Stripe's id of the dispute or the warning; empty for operators.
  source_id      text COLLATE "C" NOT NULL,
  reason         text NOT NULL,
  actor          text COLLATE "C" NOT NULL,
  created_at     timestamptz(3) NOT NULL,
  -- A reason is kept when it is lifted: the table is its own history.
  lifted_at      timestamptz(3),
  lifted_by      text COLLATE "C",
  lifted_reason  text,
  CONSTRAINT wallet_freezes_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT wallet_freezes_account_id_fkey FOREIGN KEY (account_id) REFERENCES wallets (account_id),
  CONSTRAINT wallet_freezes_source_known CHECK (source IN ('operator', 'dispute', 'early_fraud_warning', 'refund')),
  CONSTRAINT wallet_freezes_source_named CHECK ((source = 'operator') = (source_id = '')),
  CONSTRAINT wallet_freezes_lifted_whole CHECK (num_nulls(lifted_at, lifted_by, lifted_reason) IN (0, 3))
);
CREATE UNIQUE INDEX wallet_freezes_in_force_key ON wallet_freezes (account_id, source, source_id) WHERE lifted_at IS NULL;

CREATE FUNCTION refuse_freeze_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the reason % is kept as it was, and lifted once', OLD.id
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'wallet_freezes_lifted_once';
END $$;
CREATE TRIGGER wallet_freezes_lifted_once BEFORE UPDATE ON wallet_freezes
  FOR EACH ROW WHEN (
    OLD.lifted_at IS NOT NULL
    OR (NEW.account_id, NEW.id, NEW.source, NEW.source_id, NEW.reason, NEW.actor, NEW.created_at)
      IS DISTINCT FROM (OLD.account_id, OLD.id, OLD.source, OLD.source_id, OLD.reason, OLD.actor, OLD.created_at)
  ) EXECUTE FUNCTION refuse_freeze_change();

-- A wallet is frozen exactly while a reason is in force, whoever writes. Looked at when a statement ends, because the engine
-- writes both in one. A process of an earlier release, which knows no reasons, is refused: it would lift them all.
CREATE FUNCTION refuse_status_without_reason() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT FROM wallets w WHERE w.account_id = NEW.account_id AND (w.status = 'frozen') <>
             EXISTS (SELECT FROM wallet_freezes f WHERE f.account_id = NEW.account_id AND f.lifted_at IS NULL)) THEN
    RAISE EXCEPTION 'the wallet of % must be frozen exactly while a reason is in force', NEW.account_id
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'wallets_frozen_for_a_reason';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER wallets_frozen_for_a_reason AFTER UPDATE OF status ON wallets
  FOR EACH ROW WHEN (NEW.status IS DISTINCT FROM OLD.status) EXECUTE FUNCTION refuse_status_without_reason();

-- Who froze a wallet that was frozen before was never recorded, so no wallet that is frozen now becomes active by itself:
-- a person looks, and lifts this.
INSERT INTO wallet_freezes (account_id, id, source, source_id, reason, actor, created_at)
SELECT account_id, 'frz_' || substr(account_id, length('acct_') + 1), 'operator', '',
       'Frozen before reasons were kept apart: a person has to look.', 'system', now()
  FROM wallets WHERE status = 'frozen';

CREATE TRIGGER wallet_freezes_freeze_a_wallet AFTER INSERT OR UPDATE ON wallet_freezes
  FOR EACH ROW EXECUTE FUNCTION refuse_status_without_reason();

REVOKE DELETE ON wallet_freezes FROM coffer_app;
