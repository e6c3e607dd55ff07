-- Which key made a key, and what that allows it: a key never has more than its maker, by any chain of keys.
SET LOCAL lock_timeout = '5s';

-- Who made it, as the ledger names actors: 'account_key:key_…', 'operator_key:key_…', 'system' for the first run. Null: a key
-- of the time before this was recorded.
ALTER TABLE api_keys ADD COLUMN created_by text COLLATE "C";

-- What a key has made: read when it is revoked with its descendants and when it gets a spend limit.
CREATE INDEX api_keys_created_by_idx ON api_keys (created_by) WHERE created_by IS NOT NULL;

-- The service decides the same before it inserts (src/api-keys/key-policy.ts); this is for whatever it overlooks. A key that
-- is made by an operator for an account has no maker of its own kind, and is held to nothing here.
CREATE FUNCTION refuse_key_beyond_maker() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  maker_id  text := split_part(NEW.created_by, ':', 2);
  maker     api_keys%ROWTYPE;
  broken    text;
BEGIN
  SELECT * INTO maker FROM api_keys k WHERE k.id = maker_id;
  IF NOT FOUND THEN
    -- Operators may act with the key of the environment, which has no row. Accounts have no such key.
    IF NEW.created_by LIKE 'operator_key:%' THEN RETURN NEW; END IF;
    broken := 'was made by a key that does not exist';
  ELSIF maker.account_id IS NULL AND NEW.account_id IS NOT NULL THEN
    RETURN NEW;
  ELSIF maker.account_id IS DISTINCT FROM NEW.account_id THEN
    broken := 'was made by a key of another owner';
  ELSIF NOT (NEW.scopes <@ maker.scopes) THEN
    broken := 'has a scope that its maker lacks';
  ELSIF maker.expires_at IS NOT NULL AND (NEW.expires_at IS NULL OR NEW.expires_at > maker.expires_at) THEN
    broken := 'outlives its maker';
  ELSIF NEW.scopes && ARRAY['generate', 'keys:write'] AND EXISTS (
    WITH RECURSIVE line AS (
      SELECT maker.id AS id, maker.created_by AS created_by
      UNION ALL
      SELECT k.id, k.created_by FROM line l JOIN api_keys k
          ON k.id = split_part(l.created_by, ':', 2) AND k.account_id = NEW.account_id)
    SELECT FROM line l JOIN key_budgets b ON b.account_id = NEW.account_id AND b.key_id = l.id) THEN
    broken := 'was made by a key with spend limits';
  END IF;
  IF broken IS NULL THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'key % %', NEW.id, broken
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'api_keys_within_maker', TABLE = 'api_keys';
END $$;
CREATE TRIGGER api_keys_within_maker BEFORE INSERT ON api_keys
  FOR EACH ROW WHEN (NEW.created_by LIKE '%\_key:%') EXECUTE FUNCTION refuse_key_beyond_maker();

-- What a key is never changes; it can only be revoked.
REVOKE UPDATE, DELETE ON api_keys FROM coffer_app;
GRANT UPDATE (revoked_at) ON api_keys TO coffer_app;
