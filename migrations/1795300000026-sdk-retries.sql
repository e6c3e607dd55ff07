-- Retries of an SDK that carry no idempotency key: which earlier attempt one of them may take, and which of them has it.
-- Only calls of clients that announce their retries are marked; every other row stays as it was, null.
SET LOCAL lock_timeout = '5s';

ALTER TABLE generations
  -- open: nobody knows yet that its answer has reached its client. abandoned: the client was gone before its answer
  -- ended. claimed: a retry has it. Null: there is nothing to take; its answer was handed over, it failed without a
  -- charge, or its client announces no retries.
  ADD COLUMN retry_state text COLLATE "C",
  -- The claim of one retry, and how long it counts without a sign of life.
  ADD COLUMN retry_claim text COLLATE "C",
  ADD COLUMN retry_claim_expires_at timestamptz(3),
  -- Not validated: in every row that is there the new columns are null, so there is nothing to look for, and looking
  -- would lock the table for as long as it is large.
  ADD CONSTRAINT generations_retry_state_known CHECK (retry_state IN ('open', 'abandoned', 'claimed')) NOT VALID,
  ADD CONSTRAINT generations_retry_claimed_by_one CHECK (
    retry_state IS DISTINCT FROM 'claimed' OR (retry_claim IS NOT NULL AND retry_claim_expires_at IS NOT NULL)) NOT VALID,
  -- What has a key is found by it, and what failed is made anew.
  ADD CONSTRAINT generations_retry_of_unkeyed CHECK (
    retry_state IS NULL OR (idempotency_key IS NULL AND status <> 'failed')) NOT VALID;

-- What a retry looks for. A row enters it when it is written and leaves it with its outcome, in writes that are made
-- anyway: so it holds the calls under way of such clients, and the few whose client went away.
CREATE INDEX generations_retry_idx ON generations (account_id, fingerprint) WHERE retry_state IS NOT NULL;

-- A receipt's numbers stay as before; whether a retry may take it, or its images were deleted, is none of them.
CREATE OR REPLACE FUNCTION refuse_second_finish() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  free CONSTANT text[] := ARRAY['idempotency_key', 'retry_state', 'retry_claim', 'retry_claim_expires_at', 'images_deleted_at'];
BEGIN
  IF (to_jsonb(NEW) - free) = (to_jsonb(OLD) - free) THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'generation % is %: it finishes once', OLD.id, OLD.status
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'generations_terminal';
END $$;
