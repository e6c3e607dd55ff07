-- A row of the ledger carries the time at which its batch began. A range of an export is final a minute after its end, so a
-- batch that is written later than that, as by a server process that stood still, is refused. Whoever sent it has given up by then.
SET LOCAL lock_timeout = '5s';

CREATE FUNCTION longest_batch() RETURNS interval LANGUAGE sql IMMUTABLE AS $$ SELECT interval '30 seconds' $$;

CREATE FUNCTION refuse_late_batch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'this transaction began at %, which is too long ago for rows of the ledger', transaction_timestamp()
    USING ERRCODE = '25P04', CONSTRAINT = 'transfers_written_soon',
          HINT = 'Nothing of it was kept. Send it again in a new transaction.';
END $$;

CREATE TRIGGER transfers_written_soon BEFORE INSERT ON transfers
  FOR EACH STATEMENT WHEN (clock_timestamp() - transaction_timestamp() > longest_batch())
  EXECUTE FUNCTION refuse_late_batch();
