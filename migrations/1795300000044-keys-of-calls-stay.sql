-- An idempotency key of an images call is known for ever, as the references of the ledger are. Its answer is kept for some
-- days only; a key without its answer is refused as used, and never charges a second time.
SET LOCAL lock_timeout = '5s';

-- What forgot keys looked through. One index entry a keyed call less to write.
DROP INDEX generations_keyed_idx;

-- A finished generation keeps its key as it keeps its numbers. So a process of an earlier release, which forgets keys by the
-- hour, is refused while both run.
CREATE OR REPLACE FUNCTION refuse_second_finish() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  free CONSTANT text[] := ARRAY['retry_state', 'retry_claim', 'retry_claim_expires_at', 'images_deleted_at'];
BEGIN
  IF (to_jsonb(NEW) - free) = (to_jsonb(OLD) - free) THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'generation % is %: it finishes once', OLD.id, OLD.status
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'generations_terminal';
END $$;
