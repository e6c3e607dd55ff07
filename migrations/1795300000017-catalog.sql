-- The catalogue: which models there are, in versions that are never changed; and how much each was used.
SET LOCAL lock_timeout = '5s';

CREATE TABLE catalog_versions (
  -- As the file says. The newest one is in force; of two processes that publish the same number, one is refused.
  version       integer NOT NULL,
  -- The whole file. jsonb and not a table of models: a version is published, read and compared as a whole.
  document      jsonb NOT NULL,
  published_at  timestamptz(3) NOT NULL,
  -- Who published it: an operator's name, or `system` for the first version of a new database.
  published_by  text COLLATE "C" NOT NULL,
  CONSTRAINT catalog_versions_pkey PRIMARY KEY (version),
  CONSTRAINT catalog_versions_version_positive CHECK (version > 0),
  CONSTRAINT catalog_versions_document_object CHECK (jsonb_typeof(document) = 'object'),
  CONSTRAINT catalog_versions_publisher_length CHECK (char_length(published_by) BETWEEN 1 AND 200)
);

CREATE FUNCTION refuse_catalog_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'published catalogue versions stay as they are: % refused; publish the next version', TG_OP
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'catalog_versions_append_only';
END $$;
CREATE TRIGGER catalog_versions_append_only BEFORE UPDATE OR DELETE ON catalog_versions
  FOR EACH ROW EXECUTE FUNCTION refuse_catalog_change();
CREATE TRIGGER catalog_versions_no_truncate BEFORE TRUNCATE ON catalog_versions
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_catalog_change();
REVOKE UPDATE, DELETE ON catalog_versions FROM coffer_app;

-- Delivered images of an hour and a model, over all customers: what the ranking adds up. No customer stands here.
-- 8,760 rows a model and year; rows of the last hours are counted anew, hence room for their next version.
CREATE TABLE model_usage (
  hour    timestamptz(3) NOT NULL,
  model   text COLLATE "C" NOT NULL,
  images  bigint NOT NULL,
  CONSTRAINT model_usage_pkey PRIMARY KEY (hour, model),
  CONSTRAINT model_usage_whole_hour CHECK (hour = date_trunc('hour', hour, 'UTC')),
  CONSTRAINT model_usage_images_not_negative CHECK (images >= 0),
  CONSTRAINT model_usage_model_length CHECK (char_length(model) BETWEEN 1 AND 200)
) WITH (fillfactor = 70);
REVOKE DELETE ON model_usage FROM coffer_app;
