-- What each account used, added up by day, and how far it is added up. The rest is read where it stands, so an answer
-- is exact at once, and no call pays for it.
SET LOCAL lock_timeout = '5s';

-- Empty text stands for "none": a primary key knows no null.
CREATE TABLE usage_days (
  account_id      text COLLATE "C" NOT NULL,
  -- UTC: of the capture where something was charged, else of the end of the call.
  day             date NOT NULL,
  -- images_api: our own calls. debits: what an outside gateway debited or captured.
  source          text COLLATE "C" NOT NULL,
  model           text COLLATE "C" NOT NULL,
  api_key_id      text COLLATE "C" NOT NULL,
  tag             text COLLATE "C" NOT NULL,
  billing_mode    text COLLATE "C" NOT NULL,
  -- Empty: something was delivered.
  error_code      text COLLATE "C" NOT NULL,
  calls           bigint NOT NULL,
  images          bigint NOT NULL,
  charged_micros  bigint NOT NULL,
  CONSTRAINT usage_days_pkey PRIMARY KEY (account_id, day, source, model, api_key_id, tag, billing_mode, error_code),
  CONSTRAINT usage_days_source_known CHECK (source IN ('images_api', 'debits')),
  CONSTRAINT usage_days_billing_mode_known CHECK (billing_mode IN ('wallet', 'byok', 'free')),
  CONSTRAINT usage_days_not_negative CHECK (calls >= 0 AND images >= 0 AND charged_micros >= 0),
  CONSTRAINT usage_days_only_wallets_are_charged CHECK (charged_micros = 0 OR (billing_mode = 'wallet' AND error_code = ''))
-- The rows of today are rewritten every minute: room on the page for their next version.
) WITH (fillfactor = 70);

-- Charges are added up in the ledger's own order, which has no gaps and no late comers: up to which seq.
CREATE TABLE usage_progress (
  account_id  text COLLATE "C" NOT NULL,
  seq         bigint NOT NULL DEFAULT 0,
  CONSTRAINT usage_progress_pkey PRIMARY KEY (account_id),
  CONSTRAINT usage_progress_seq_not_negative CHECK (seq >= 0)
) WITH (fillfactor = 50);

-- Calls that charged nothing stand in no ledger. They are added up in the order of their ends: to which time.
CREATE TABLE usage_clock (
  id             text COLLATE "C" NOT NULL,
  counted_until  timestamptz(3) NOT NULL,
  CONSTRAINT usage_clock_pkey PRIMARY KEY (id),
  CONSTRAINT usage_clock_one_row CHECK (id = 'unpaid')
-- One row, rewritten every minute.
) WITH (fillfactor = 50);
INSERT INTO usage_clock (id, counted_until) VALUES ('unpaid', '1970-01-01T00:00:00Z');

-- The calls that charged nothing, and no others: a paid call writes nothing here.
CREATE INDEX generations_unpaid_idx ON generations (finished_at, account_id)
  WHERE charged_micros = 0 AND finished_at IS NOT NULL;

-- What is added up must not get company later. So nobody ends such a call in the past: where the application's clock
-- is behind, or its statement came late, the database's own time counts. Two minutes are more than a clock that is
-- looked after is off, and less than the five that the sum keeps away from now.
CREATE FUNCTION end_now() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.finished_at := now();
  RETURN NEW;
END $$;
CREATE TRIGGER generations_end_made_now BEFORE INSERT ON generations
  FOR EACH ROW WHEN (NEW.charged_micros = 0 AND NEW.finished_at < now() - interval '2 minutes')
  EXECUTE FUNCTION end_now();
CREATE TRIGGER generations_end_is_now BEFORE UPDATE ON generations
  FOR EACH ROW WHEN (OLD.finished_at IS NULL AND NEW.charged_micros = 0 AND NEW.finished_at < now() - interval '2 minutes')
  EXECUTE FUNCTION end_now();

-- The ranking's counts are added up along with the rest from now on, once from the very beginning.
DELETE FROM model_usage;

REVOKE DELETE ON usage_days, usage_progress, usage_clock FROM coffer_app;
