-- Calls that charged nothing are in no ledger, so nothing numbers them in the order of their commits. A mark over the
-- times at which they ended can pass one whose commit comes late or whose process has a slow clock, and that call would
-- never be counted. So the commit that ends such a call queues it, and the commit that adds it up takes it out: it is in
-- exactly one of the two, whatever any clock says.
SET LOCAL lock_timeout = '5s';

-- Processes of the version before add up behind this lock; from here on they add nothing up.
LOCK TABLE usage_clock IN ACCESS EXCLUSIVE MODE;

CREATE TABLE usage_queue (
  account_id     text COLLATE "C" NOT NULL,
  generation_id  text COLLATE "C" NOT NULL,
  CONSTRAINT usage_queue_pkey PRIMARY KEY (account_id, generation_id)
);

CREATE FUNCTION queue_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO usage_queue (account_id, generation_id) VALUES (NEW.account_id, NEW.id);
  RETURN NULL;
END $$;
-- After the row is written: an insert that ends as an update, or as nothing, queues once or not at all. A paid call
-- pays for reading the condition only.
CREATE TRIGGER generations_queued_when_made AFTER INSERT ON generations
  FOR EACH ROW WHEN (NEW.charged_micros = 0 AND NEW.finished_at IS NOT NULL)
  EXECUTE FUNCTION queue_usage();
CREATE TRIGGER generations_queued_when_ended AFTER UPDATE ON generations
  FOR EACH ROW WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL AND NEW.charged_micros = 0)
  EXECUTE FUNCTION queue_usage();

-- Nothing ends a call while the triggers' lock is held: what is not added up yet is read completely.
INSERT INTO usage_queue (account_id, generation_id)
SELECT account_id, id FROM generations
 WHERE charged_micros = 0 AND finished_at IS NOT NULL AND finished_at >= (SELECT counted_until FROM usage_clock);

-- No sum depends on the time of an end any more, so the process's own time stays in the row.
DROP TRIGGER generations_end_made_now ON generations;
DROP TRIGGER generations_end_is_now ON generations;
DROP FUNCTION end_now();
DROP INDEX generations_unpaid_idx;
DROP TABLE usage_clock;
