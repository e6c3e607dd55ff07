-- Two attempts at one call may ask for its credit in two processes at once. Which of them gets it is decided where the hold
-- is made: under the wallet's lock.
SET LOCAL lock_timeout = '5s';

-- Which attempt of an SDK the hold is for: 0 its first, then the retries that it sends by itself. Null: of a client that
-- announces no retries, or that names its call by a key.
ALTER TABLE holds ADD COLUMN attempt smallint;

-- Open holds of an API key, and among them those for the same request. Only open ones are in it, so that a hold enters once
-- and leaves with its resolution. It takes the place of the one without the fingerprint.
CREATE INDEX holds_open_attempts_idx ON holds (account_id, key_id, fingerprint)
  WHERE status = 'authorized' AND key_id IS NOT NULL;
DROP INDEX holds_open_key_idx;

CREATE OR REPLACE FUNCTION hold_rules_kept(h holds) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN NOT (h.amount_micros > 0) THEN 'holds_amount_positive'
    WHEN NOT (h.status IN ('authorized', 'captured', 'voided', 'expired')) THEN 'holds_status_known'
    WHEN NOT (CASE WHEN h.status = 'captured' THEN h.captured_micros BETWEEN 1 AND h.amount_micros
                   ELSE h.captured_micros = 0 END)
      THEN 'holds_captured_within'
    WHEN NOT ((h.status = 'authorized') = (h.resolved_at IS NULL)) THEN 'holds_resolved_once'
    WHEN NOT (char_length(h.reference) <= 300 AND char_length(h.memo) <= 500) THEN 'holds_text_length'
    WHEN NOT (h.attempt >= 0) THEN 'holds_attempt_not_negative'
  END;
BEGIN
  IF broken IS NULL THEN RETURN true; END IF;
  RAISE EXCEPTION 'hold % breaks %', h.id, broken
    USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'holds';
END $$;
