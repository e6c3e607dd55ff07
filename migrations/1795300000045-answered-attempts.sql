-- A retry of an SDK may ask for an answer that was handed to a connection and lost behind it. Which attempts an answer was
-- given to already says whether it can still be the retry's.
SET LOCAL lock_timeout = '5s';

-- Which attempt of its client this call is (0 its first), then that of the retry which took its answer last. A retry takes
-- answers of earlier attempts only. Null: of a client that announces no retries, or that names its call by a key.
ALTER TABLE generations ADD COLUMN last_attempt smallint;

CREATE OR REPLACE FUNCTION refuse_second_finish() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  free CONSTANT text[] := ARRAY['retry_state', 'retry_claim', 'retry_claim_expires_at', 'last_attempt', 'images_deleted_at'];
BEGIN
  IF (to_jsonb(NEW) - free) = (to_jsonb(OLD) - free) THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'generation % is %: it finishes once', OLD.id, OLD.status
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'generations_terminal';
END $$;

-- As before, and one rule more, for the new column. In every row that is there it is null, which keeps the rule.
CREATE OR REPLACE FUNCTION generation_rules_kept(g generations) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN NOT (g.id LIKE 'gen\_%') THEN 'generations_id_form'
    WHEN NOT (g.status IN ('running', 'unresolved', 'succeeded', 'failed')) THEN 'generations_status_known'
    WHEN NOT (g.images_requested BETWEEN 1 AND 10 AND g.images_delivered BETWEEN 0 AND g.images_requested)
      THEN 'generations_images_bounded'
    WHEN NOT (g.width > 0 AND g.height > 0) THEN 'generations_size_positive'
    WHEN NOT (g.response_format IN ('url', 'b64_json') AND g.output_format IN ('png', 'jpeg', 'webp'))
      THEN 'generations_formats_known'
    -- Pay per delivered image; over a customer's own key, nothing.
    WHEN NOT (g.charged_micros = CASE WHEN g.provider_key_id IS NULL THEN g.images_delivered * g.price_micros ELSE 0 END)
      THEN 'generations_charged_as_delivered'
    WHEN NOT ((g.status = 'succeeded') = (g.images_delivered > 0)) THEN 'generations_success_delivers'
    WHEN NOT ((g.status = 'failed') <= (g.error_code IS NOT NULL)) THEN 'generations_failure_named'
    WHEN NOT ((g.status IN ('succeeded', 'failed')) = (g.finished_at IS NOT NULL)) THEN 'generations_finished_once'
    WHEN NOT ((g.hold_id IS NULL) = (g.price_micros = 0 OR g.provider_key_id IS NOT NULL))
      THEN 'generations_paid_or_free'
    WHEN NOT (g.fell_back_from IS NULL OR g.provider_key_id IS NULL) THEN 'generations_fallback_is_ordinary'
    WHEN NOT (g.operation IN ('generation', 'edit')) THEN 'generations_operation_known'
    WHEN NOT ((g.operation = 'edit') = (g.references_count > 0) AND g.references_count BETWEEN 0 AND 16)
      THEN 'generations_edit_has_references'
    WHEN NOT (g.images_deleted_at IS NULL OR g.status = 'succeeded') THEN 'generations_only_delivered_deleted'
    WHEN NOT (length(g.tag) BETWEEN 1 AND 128) THEN 'generations_tag_length'
    WHEN NOT (g.retry_state IN ('open', 'abandoned', 'claimed')) THEN 'generations_retry_state_known'
    WHEN NOT (g.retry_state IS DISTINCT FROM 'claimed'
              OR (g.retry_claim IS NOT NULL AND g.retry_claim_expires_at IS NOT NULL))
      THEN 'generations_retry_claimed_by_one'
    -- What has a key is found by it, and what failed is made anew.
    WHEN NOT (g.retry_state IS NULL OR (g.idempotency_key IS NULL AND g.status <> 'failed'))
      THEN 'generations_retry_of_unkeyed'
    WHEN NOT (g.last_attempt IS NULL OR (g.last_attempt >= 0 AND g.idempotency_key IS NULL))
      THEN 'generations_attempt_of_unkeyed'
    WHEN NOT (char_length(g.end_user) <= 512 AND char_length(g.idempotency_key) BETWEEN 1 AND 255)
      THEN 'generations_text_length'
  END;
BEGIN
  IF broken IS NULL THEN RETURN true; END IF;
  RAISE EXCEPTION 'generation % breaks %', g.id, broken
    USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'generations';
END $$;
