-- The format of each delivered image: where the client names none, an image is delivered as its provider made it, and
-- images of one call may differ.
SET LOCAL lock_timeout = '5s';

-- Null: the client named none. The rows that are there need no check.
ALTER TABLE generations ALTER COLUMN output_format DROP NOT NULL;

-- Null unless delivered, and in rows of earlier releases, whose images are of the call's output_format.
ALTER TABLE generation_tasks ADD COLUMN image_format text COLLATE "C";

-- Two more rules; in the rows that are there the new column is null, which both allow, so they need no check.
CREATE OR REPLACE FUNCTION generation_task_rules_kept(t generation_tasks) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN NOT (t.status IN ('pending', 'delivered', 'failed')) THEN 'generation_tasks_status_known'
    WHEN NOT (t.position BETWEEN 0 AND 9 AND t.attempt BETWEEN 1 AND 100) THEN 'generation_tasks_position_bounded'
    WHEN NOT ((t.status = 'delivered') = (t.bytes IS NOT NULL)) THEN 'generation_tasks_delivered_stored'
    WHEN NOT ((t.status = 'failed') = (t.failure IS NOT NULL)) THEN 'generation_tasks_failure_named'
    WHEN NOT ((t.status = 'pending') = (t.finished_at IS NULL)) THEN 'generation_tasks_finished_once'
    WHEN NOT (t.upstream_cost_micros >= 0) THEN 'generation_tasks_cost_not_negative'
    WHEN NOT (t.image_format IN ('png', 'jpeg', 'webp')) THEN 'generation_tasks_format_known'
    WHEN NOT (t.image_format IS NULL OR t.status = 'delivered') THEN 'generation_tasks_format_of_delivered'
    WHEN NOT (char_length(t.task_id) BETWEEN 1 AND 300 AND char_length(t.polling_url) <= 2083)
      THEN 'generation_tasks_text_length'
  END;
BEGIN
  IF broken IS NULL THEN RETURN true; END IF;
  RAISE EXCEPTION 'task % of generation % breaks %', t.position, t.generation_id, broken
    USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'generation_tasks';
END $$;
