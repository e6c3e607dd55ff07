-- The price book: what one image of a model costs, in versions that are never changed.
SET LOCAL lock_timeout = '5s';

CREATE TABLE prices (
  id              text COLLATE "C" NOT NULL,
  model           text COLLATE "C" NOT NULL,
  -- 1, 2, 3 ... within a model. A correction is a new version.
  version         integer NOT NULL,
  unit            text COLLATE "C" NOT NULL,
  -- 0 is a free model.
  amount_micros   bigint NOT NULL,
  -- In force from here until the next version's moment. May lie in the future.
  effective_from  timestamptz(3) NOT NULL,
  created_at      timestamptz(3) NOT NULL,
  CONSTRAINT prices_pkey PRIMARY KEY (id),
  CONSTRAINT prices_model_version_key UNIQUE (model, version),
  CONSTRAINT prices_id_form CHECK (id LIKE 'price\_%'),
  CONSTRAINT prices_model_length CHECK (char_length(model) BETWEEN 1 AND 200),
  CONSTRAINT prices_version_positive CHECK (version > 0),
  CONSTRAINT prices_unit_known CHECK (unit IN ('image')),
  -- A thousand dollars an image: above any model, and n = 10 of it stays far below the largest movement.
  CONSTRAINT prices_amount_bounded CHECK (amount_micros BETWEEN 0 AND 1000000000)
);

-- Charges name the price that they were made with; it must say the same for ever.
CREATE FUNCTION refuse_price_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'prices are never changed: % refused; insert the next version', TG_OP
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'prices_append_only';
END $$;
CREATE TRIGGER prices_append_only BEFORE UPDATE OR DELETE ON prices
  FOR EACH ROW EXECUTE FUNCTION refuse_price_change();
CREATE TRIGGER prices_no_truncate BEFORE TRUNCATE ON prices
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_price_change();
REVOKE UPDATE, DELETE ON prices FROM coffer_app;

INSERT INTO prices (id, model, version, unit, amount_micros, effective_from, created_at) VALUES
  ('price_01KEWWTN00T5FC7C412HS87RX6', 'black-forest-labs/flux-2-klein-9b', 1, 'image', 40000,
   '2026-01-14T00:00:00Z', '2026-01-14T00:00:00Z');
