-- The rules of the three tables that every image call writes, each under the name that it had, in a function a table.
--
-- Postgres parses and plans all checks of a table anew for every statement that writes to it: 34 kB of them twice a call
-- were a sixth of what an image call cost the server. What a function of PL/pgSQL says is parsed once a connection.
-- A rule that is null is kept, as in a check of its own; the first one that is not names itself. A function that is
-- replaced is not held against the rows that are there: a migration that adds a rule has to look through them.
SET LOCAL lock_timeout = '5s';

CREATE FUNCTION generation_rules_kept(g generations) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
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
    WHEN NOT (char_length(g.end_user) <= 512 AND char_length(g.idempotency_key) BETWEEN 1 AND 255)
      THEN 'generations_text_length'
  END;
BEGIN
  IF broken IS NULL THEN RETURN true; END IF;
  RAISE EXCEPTION 'generation % breaks %', g.id, broken
    USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'generations';
END $$;

CREATE FUNCTION generation_task_rules_kept(t generation_tasks) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN NOT (t.status IN ('pending', 'delivered', 'failed')) THEN 'generation_tasks_status_known'
    WHEN NOT (t.position BETWEEN 0 AND 9 AND t.attempt BETWEEN 1 AND 100) THEN 'generation_tasks_position_bounded'
    WHEN NOT ((t.status = 'delivered') = (t.bytes IS NOT NULL)) THEN 'generation_tasks_delivered_stored'
    WHEN NOT ((t.status = 'failed') = (t.failure IS NOT NULL)) THEN 'generation_tasks_failure_named'
    WHEN NOT ((t.status = 'pending') = (t.finished_at IS NULL)) THEN 'generation_tasks_finished_once'
    WHEN NOT (t.upstream_cost_micros >= 0) THEN 'generation_tasks_cost_not_negative'
    WHEN NOT (char_length(t.task_id) BETWEEN 1 AND 300 AND char_length(t.polling_url) <= 2083)
      THEN 'generation_tasks_text_length'
  END;
BEGIN
  IF broken IS NULL THEN RETURN true; END IF;
  RAISE EXCEPTION 'task % of generation % breaks %', t.position, t.generation_id, broken
    USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'generation_tasks';
END $$;

CREATE FUNCTION hold_rules_kept(h holds) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN NOT (h.amount_micros > 0) THEN 'holds_amount_positive'
    WHEN NOT (h.status IN ('authorized', 'captured', 'voided', 'expired')) THEN 'holds_status_known'
    WHEN NOT (CASE WHEN h.status = 'captured' THEN h.captured_micros BETWEEN 1 AND h.amount_micros
                   ELSE h.captured_micros = 0 END)
      THEN 'holds_captured_within'
    WHEN NOT ((h.status = 'authorized') = (h.resolved_at IS NULL)) THEN 'holds_resolved_once'
    WHEN NOT (char_length(h.reference) <= 300 AND char_length(h.memo) <= 500) THEN 'holds_text_length'
  END;
BEGIN
  IF broken IS NULL THEN RETURN true; END IF;
  RAISE EXCEPTION 'hold % breaks %', h.id, broken
    USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'holds';
END $$;

-- Not validated: every row that is there has been held to the same rules by the checks that go.
ALTER TABLE generations
  DROP CONSTRAINT generations_id_form,
  DROP CONSTRAINT generations_status_known,
  DROP CONSTRAINT generations_images_bounded,
  DROP CONSTRAINT generations_size_positive,
  DROP CONSTRAINT generations_formats_known,
  DROP CONSTRAINT generations_charged_as_delivered,
  DROP CONSTRAINT generations_success_delivers,
  DROP CONSTRAINT generations_failure_named,
  DROP CONSTRAINT generations_finished_once,
  DROP CONSTRAINT generations_paid_or_free,
  DROP CONSTRAINT generations_fallback_is_ordinary,
  DROP CONSTRAINT generations_operation_known,
  DROP CONSTRAINT generations_edit_has_references,
  DROP CONSTRAINT generations_only_delivered_deleted,
  DROP CONSTRAINT generations_tag_length,
  DROP CONSTRAINT generations_retry_state_known,
  DROP CONSTRAINT generations_retry_claimed_by_one,
  DROP CONSTRAINT generations_retry_of_unkeyed,
  DROP CONSTRAINT generations_text_length,
  ADD CONSTRAINT generations_rules_kept CHECK (generation_rules_kept(generations)) NOT VALID;

ALTER TABLE generation_tasks
  DROP CONSTRAINT generation_tasks_status_known,
  DROP CONSTRAINT generation_tasks_position_bounded,
  DROP CONSTRAINT generation_tasks_delivered_stored,
  DROP CONSTRAINT generation_tasks_failure_named,
  DROP CONSTRAINT generation_tasks_finished_once,
  DROP CONSTRAINT generation_tasks_cost_not_negative,
  DROP CONSTRAINT generation_tasks_text_length,
  ADD CONSTRAINT generation_tasks_rules_kept CHECK (generation_task_rules_kept(generation_tasks)) NOT VALID;

ALTER TABLE holds
  DROP CONSTRAINT holds_amount_positive,
  DROP CONSTRAINT holds_status_known,
  DROP CONSTRAINT holds_captured_within,
  DROP CONSTRAINT holds_resolved_once,
  DROP CONSTRAINT holds_text_length,
  ADD CONSTRAINT holds_rules_kept CHECK (hold_rules_kept(holds)) NOT VALID;
