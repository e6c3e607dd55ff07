-- Generations: one row is one image request and its outcome; its tasks are the provider's side of it.
-- The prompt is not kept. account_id leads every key, as everywhere.
SET LOCAL lock_timeout = '5s';

CREATE TABLE generations (
  account_id            text COLLATE "C" NOT NULL,
  id                    text COLLATE "C" NOT NULL,
  api_key_id            text COLLATE "C" NOT NULL,
  request_id            text COLLATE "C" NOT NULL,
  model                 text COLLATE "C" NOT NULL,
  price_id              text COLLATE "C" NOT NULL,
  -- For one image, as it stood when the credit was set aside.
  price_micros          bigint NOT NULL,
  images_requested      smallint NOT NULL,
  width                 integer NOT NULL,
  height                integer NOT NULL,
  response_format       text COLLATE "C" NOT NULL,
  output_format         text COLLATE "C" NOT NULL,
  -- OpenAI's `user`: whom the customer says that this was for.
  end_user              text,
  -- The request in canonical form, hashed: the same idempotency key with another body is refused.
  fingerprint           text COLLATE "C" NOT NULL,
  -- Set free when the call failed (nothing was charged, so it may run again) and after the retention time.
  idempotency_key       text COLLATE "C",
  -- Which master key signs the answer's URLs: with created_at it makes the answer repeatable to the byte.
  media_key_id          text COLLATE "C" NOT NULL,
  status                text COLLATE "C" NOT NULL,
  -- Until then somebody is working on it; afterwards recovery may.
  lease_expires_at      timestamptz(3) NOT NULL,
  -- Null: the model is free, and no wallet is involved.
  hold_id               text COLLATE "C",
  images_delivered      smallint NOT NULL DEFAULT 0,
  charged_micros        bigint NOT NULL DEFAULT 0,
  error_code            text COLLATE "C",
  created_at            timestamptz(3) NOT NULL,
  -- When the credit was set aside, and when the last image was there or given up.
  authorized_at         timestamptz(3),
  delivered_at          timestamptz(3),
  finished_at           timestamptz(3),
  CONSTRAINT generations_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT generations_price_id_fkey FOREIGN KEY (price_id) REFERENCES prices (id),
  CONSTRAINT generations_id_form CHECK (id LIKE 'gen\_%'),
  CONSTRAINT generations_status_known CHECK (status IN ('running', 'unresolved', 'succeeded', 'failed')),
  CONSTRAINT generations_images_bounded CHECK (
    images_requested BETWEEN 1 AND 10 AND images_delivered BETWEEN 0 AND images_requested),
  CONSTRAINT generations_size_positive CHECK (width > 0 AND height > 0),
  CONSTRAINT generations_formats_known CHECK (
    response_format IN ('url', 'b64_json') AND output_format IN ('png', 'jpeg', 'webp')),
  -- Pay per delivered image.
  CONSTRAINT generations_charged_as_delivered CHECK (charged_micros = images_delivered * price_micros),
  CONSTRAINT generations_success_delivers CHECK ((status = 'succeeded') = (images_delivered > 0)),
  CONSTRAINT generations_failure_named CHECK ((status = 'failed') <= (error_code IS NOT NULL)),
  CONSTRAINT generations_finished_once CHECK ((status IN ('succeeded', 'failed')) = (finished_at IS NOT NULL)),
  CONSTRAINT generations_paid_or_free CHECK ((hold_id IS NULL) = (price_micros = 0)),
  CONSTRAINT generations_text_length CHECK (
    char_length(end_user) <= 512 AND char_length(idempotency_key) BETWEEN 1 AND 255)
) WITH (fillfactor = 80);

-- One idempotency key, one live or successful generation: copies race here, and one wins.
CREATE UNIQUE INDEX generations_idempotency_key_idx ON generations (account_id, idempotency_key)
  WHERE idempotency_key IS NOT NULL AND status <> 'failed';
-- What recovery looks for; almost empty.
CREATE INDEX generations_open_idx ON generations (lease_expires_at) WHERE status IN ('running', 'unresolved');
-- What the retention job looks for.
CREATE INDEX generations_keyed_idx ON generations (created_at) WHERE idempotency_key IS NOT NULL;

-- A finished generation is a receipt: its numbers stay. Only its idempotency key may still be forgotten.
CREATE FUNCTION refuse_second_finish() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (to_jsonb(NEW) - 'idempotency_key') = (to_jsonb(OLD) - 'idempotency_key') THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'generation % is %: it finishes once', OLD.id, OLD.status
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'generations_terminal';
END $$;
CREATE TRIGGER generations_terminal BEFORE UPDATE ON generations
  FOR EACH ROW WHEN (OLD.status IN ('succeeded', 'failed')) EXECUTE FUNCTION refuse_second_finish();

-- One row is one attempt of one provider at one image. Written as soon as the provider has named its task,
-- so that a crash cannot lose what we pay for upstream.
CREATE TABLE generation_tasks (
  account_id            text COLLATE "C" NOT NULL,
  generation_id         text COLLATE "C" NOT NULL,
  -- Which of the call's images, from 0.
  position              smallint NOT NULL,
  -- 1, 2 ... when one provider's failure sent the image to the next.
  attempt               smallint NOT NULL,
  provider              text COLLATE "C" NOT NULL,
  -- Null: the provider never named one.
  task_id               text COLLATE "C",
  polling_url           text,
  status                text COLLATE "C" NOT NULL,
  failure               text COLLATE "C",
  -- What the provider charges us, in micro-USD; null when it did not say.
  upstream_cost_micros  bigint,
  -- Size of the stored file; null unless delivered.
  bytes                 integer,
  created_at            timestamptz(3) NOT NULL,
  finished_at           timestamptz(3),
  CONSTRAINT generation_tasks_pkey PRIMARY KEY (account_id, generation_id, position, attempt),
  CONSTRAINT generation_tasks_generation_fkey FOREIGN KEY (account_id, generation_id)
    REFERENCES generations (account_id, id),
  CONSTRAINT generation_tasks_status_known CHECK (status IN ('pending', 'delivered', 'failed')),
  CONSTRAINT generation_tasks_position_bounded CHECK (position BETWEEN 0 AND 9 AND attempt BETWEEN 1 AND 100),
  CONSTRAINT generation_tasks_delivered_stored CHECK ((status = 'delivered') = (bytes IS NOT NULL)),
  CONSTRAINT generation_tasks_failure_named CHECK ((status = 'failed') = (failure IS NOT NULL)),
  CONSTRAINT generation_tasks_finished_once CHECK ((status = 'pending') = (finished_at IS NULL)),
  CONSTRAINT generation_tasks_cost_not_negative CHECK (upstream_cost_micros >= 0),
  CONSTRAINT generation_tasks_text_length CHECK (
    char_length(task_id) BETWEEN 1 AND 300 AND char_length(polling_url) <= 2083)
) WITH (fillfactor = 80);

-- What a restart after a power failure looks through: the last minutes.
CREATE INDEX generation_tasks_created_at_idx ON generation_tasks USING brin (created_at);

REVOKE DELETE ON generations, generation_tasks FROM coffer_app;
