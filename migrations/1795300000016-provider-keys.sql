-- Customers' own keys for providers (BYOK): encrypted, bound to their row, and an audit of who attached and removed them.
SET LOCAL lock_timeout = '5s';

-- One row is one key from its attachment to its removal. A key that is replaced is a row that ends and another that begins.
CREATE TABLE provider_keys (
  account_id           text COLLATE "C" NOT NULL,
  id                   text COLLATE "C" NOT NULL,
  provider             text COLLATE "C" NOT NULL,
  -- All that is ever shown of it.
  last_four            text COLLATE "C" NOT NULL,
  -- Whether calls that the provider refuses because of this key may be paid from the wallet instead.
  fall_back_to_wallet  boolean NOT NULL,
  -- The key under a data key of its own, and that data key under the master key that is named beside it. Null once
  -- the key is removed and no call can need it any more.
  ciphertext           bytea,
  wrapped_key          bytea,
  master_key_id        text COLLATE "C",
  created_at           timestamptz(3) NOT NULL,
  attached_by          text COLLATE "C" NOT NULL,
  removed_at           timestamptz(3),
  removed_by           text COLLATE "C",
  removed_reason       text COLLATE "C",
  CONSTRAINT provider_keys_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT provider_keys_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  CONSTRAINT provider_keys_id_form CHECK (id LIKE 'pk\_%'),
  CONSTRAINT provider_keys_last_four_length CHECK (char_length(last_four) = 4),
  CONSTRAINT provider_keys_sealed_whole CHECK (num_nulls(ciphertext, wrapped_key, master_key_id) IN (0, 3)),
  CONSTRAINT provider_keys_sealed_while_live CHECK (removed_at IS NOT NULL OR ciphertext IS NOT NULL),
  CONSTRAINT provider_keys_removed_whole CHECK (num_nulls(removed_at, removed_by, removed_reason) IN (0, 3)),
  CONSTRAINT provider_keys_removed_reason_known CHECK (removed_reason IN ('deleted', 'replaced'))
) WITH (fillfactor = 80); -- Rewrapped and removed in place, so pages keep room for the new version.

-- One key of an account for a provider at a time; also what every image call looks up.
CREATE UNIQUE INDEX provider_keys_live_idx ON provider_keys (account_id, provider) WHERE removed_at IS NULL;
-- What the rotation of master keys walks through.
CREATE INDEX provider_keys_master_key_idx ON provider_keys (master_key_id, account_id, id) WHERE ciphertext IS NOT NULL;
-- What the erasure looks for; almost empty.
CREATE INDEX provider_keys_unerased_idx ON provider_keys (removed_at) WHERE removed_at IS NOT NULL AND ciphertext IS NOT NULL;

-- The audit stays true: what was attached, by whom and when is never rewritten, a removal is never taken back, and a
-- secret is wrapped anew or erased, never exchanged.
CREATE FUNCTION refuse_provider_key_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.account_id, NEW.id, NEW.provider, NEW.last_four, NEW.fall_back_to_wallet, NEW.created_at, NEW.attached_by)
       IS NOT DISTINCT FROM
     (OLD.account_id, OLD.id, OLD.provider, OLD.last_four, OLD.fall_back_to_wallet, OLD.created_at, OLD.attached_by)
     AND (OLD.removed_at IS NULL OR (NEW.removed_at, NEW.removed_by, NEW.removed_reason)
            IS NOT DISTINCT FROM (OLD.removed_at, OLD.removed_by, OLD.removed_reason))
     AND (NEW.ciphertext IS NULL OR NEW.ciphertext = OLD.ciphertext) THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'provider key % is an audit record: only its removal and its wrapping may be written', OLD.id
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'provider_keys_audited';
END $$;
CREATE TRIGGER provider_keys_audited BEFORE UPDATE ON provider_keys
  FOR EACH ROW EXECUTE FUNCTION refuse_provider_key_rewrite();

REVOKE DELETE ON provider_keys FROM coffer_app;

-- A call over a customer's own key names that key, has no hold and charges nothing; price_micros is then the list price.
ALTER TABLE generations
  ADD COLUMN provider_key_id text COLLATE "C",
  -- The call over the customer's own key that was refused, and that this ordinary call is made instead of.
  ADD COLUMN fell_back_from text COLLATE "C",
  DROP CONSTRAINT generations_charged_as_delivered,
  DROP CONSTRAINT generations_paid_or_free,
  ADD CONSTRAINT generations_charged_as_delivered CHECK (
    charged_micros = CASE WHEN provider_key_id IS NULL THEN images_delivered * price_micros ELSE 0 END),
  ADD CONSTRAINT generations_paid_or_free CHECK (
    (hold_id IS NULL) = (price_micros = 0 OR provider_key_id IS NOT NULL)),
  ADD CONSTRAINT generations_fallback_is_ordinary CHECK (fell_back_from IS NULL OR provider_key_id IS NULL),
  -- The key is one of the same account.
  ADD CONSTRAINT generations_provider_key_fkey FOREIGN KEY (account_id, provider_key_id)
    REFERENCES provider_keys (account_id, id);
