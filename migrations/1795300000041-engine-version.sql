-- A process of an older version that still runs beside a newer one decides by rules that no longer hold: it may spend what a
-- new rule forbids. The database refuses its money from the moment that the newer version has migrated.
SET LOCAL lock_timeout = '5s';

-- The version that an engine must have. Raise it where a change makes an older engine wrong, by these two statements, and
-- ENGINE_VERSION in src/database/engine-version.ts with it; the lock waits for what older engines are just writing:
--
--   LOCK TABLE wallets, holds, transfers IN SHARE ROW EXCLUSIVE MODE;
--   CREATE OR REPLACE FUNCTION required_engine_version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 2';
CREATE FUNCTION required_engine_version() RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1';

-- Processes that do not know this error take its class, 57P0, for a database that is not available: they refuse with a 503.
CREATE FUNCTION refuse_older_engine() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  given CONSTANT integer := coalesce(nullif(current_setting('coffer.engine_version', true), ''), '0')::integer;
BEGIN
  IF given >= required_engine_version() THEN RETURN NULL; END IF;
  RAISE EXCEPTION 'an engine of version % may not write %: this database requires version %',
    given, TG_TABLE_NAME, required_engine_version()
    USING ERRCODE = '57P0V', CONSTRAINT = 'engine_version_current',
          HINT = 'Stop the older process. A person who repairs rows by hand sets coffer.engine_version in the session.';
END $$;

-- Whatever moves money writes its wallet. Holds and transfers have it too, so that no row of them comes without. What a wallet
-- watches for (its marks) is not the engine's to write.
CREATE TRIGGER wallets_engine_version
  BEFORE UPDATE OF status, posted_micros, held_micros, debt_micros, floor_micros, seq, head_hash, head_at ON wallets
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_older_engine();
CREATE TRIGGER holds_engine_version BEFORE INSERT OR UPDATE ON holds
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_older_engine();
CREATE TRIGGER transfers_engine_version BEFORE INSERT ON transfers
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_older_engine();
