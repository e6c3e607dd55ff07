-- Outgoing webhooks: where an account wants to be told, what happened, and how far telling it has come.
SET LOCAL lock_timeout = '5s';

CREATE TABLE webhook_endpoints (
  account_id                  text COLLATE "C" NOT NULL,
  id                          text COLLATE "C" NOT NULL,
  url                         text NOT NULL,
  events                      text[] NOT NULL,
  -- Null: events are sent.
  disabled_reason             text COLLATE "C",
  disabled_at                 timestamptz(3),
  -- A deleted endpoint keeps its row for the delivery log, and no secret.
  deleted_at                  timestamptz(3),
  -- Needed to sign, so encrypted and not hashed: bound to this row, under the master key that is named beside it.
  secret_box                  bytea,
  secret_key_id               text COLLATE "C",
  -- The secret before the last rotation signs beside the new one for a while.
  previous_secret_box         bytea,
  previous_secret_key_id      text COLLATE "C",
  previous_secret_expires_at  timestamptz(3),
  -- The first and the last failed attempt since one succeeded.
  failing_since               timestamptz(3),
  last_failed_at              timestamptz(3),
  created_at                  timestamptz(3) NOT NULL,
  CONSTRAINT webhook_endpoints_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT webhook_endpoints_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  CONSTRAINT webhook_endpoints_id_form CHECK (id LIKE 'we\_%'),
  CONSTRAINT webhook_endpoints_url_length CHECK (char_length(url) BETWEEN 1 AND 2000),
  CONSTRAINT webhook_endpoints_events_some CHECK (cardinality(events) BETWEEN 1 AND 100),
  CONSTRAINT webhook_endpoints_disabled_reason_known CHECK (disabled_reason IN ('requested', 'gone', 'failing')),
  CONSTRAINT webhook_endpoints_disabled_with_reason CHECK ((disabled_reason IS NULL) = (disabled_at IS NULL)),
  CONSTRAINT webhook_endpoints_secret_until_deleted CHECK (
    (deleted_at IS NULL) = (secret_box IS NOT NULL) AND (secret_box IS NULL) = (secret_key_id IS NULL)),
  CONSTRAINT webhook_endpoints_previous_secret_whole CHECK (
    num_nulls(previous_secret_box, previous_secret_key_id, previous_secret_expires_at) IN (0, 3)
    AND (deleted_at IS NULL OR previous_secret_box IS NULL)),
  CONSTRAINT webhook_endpoints_failing_whole CHECK ((failing_since IS NULL) = (last_failed_at IS NULL))
);

-- What happened, in the very bytes that every receiver gets. Written once; deleted when nobody can ask for it again.
CREATE TABLE webhook_events (
  account_id   text COLLATE "C" NOT NULL,
  -- Sent as webhook-id: receivers tell repetitions by it.
  id           text COLLATE "C" NOT NULL,
  type         text COLLATE "C" NOT NULL,
  -- What the event is about, so that publishing it again is no second event.
  natural_key  text COLLATE "C",
  body         text NOT NULL,
  created_at   timestamptz(3) NOT NULL,
  CONSTRAINT webhook_events_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT webhook_events_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  CONSTRAINT webhook_events_natural_key_key UNIQUE (account_id, type, natural_key),
  CONSTRAINT webhook_events_id_form CHECK (id LIKE 'evt\_%'),
  CONSTRAINT webhook_events_natural_key_length CHECK (char_length(natural_key) BETWEEN 1 AND 200),
  CONSTRAINT webhook_events_body_size CHECK (octet_length(body) BETWEEN 1 AND 20000)
);
-- What the retention job looks for: whole old stretches of the table.
CREATE INDEX webhook_events_created_at_idx ON webhook_events USING brin (created_at);

-- One event on its way to one endpoint. A handful of updates each, so pages keep room for them.
CREATE TABLE webhook_deliveries (
  account_id       text COLLATE "C" NOT NULL,
  id               text COLLATE "C" NOT NULL,
  endpoint_id      text COLLATE "C" NOT NULL,
  event_id         text COLLATE "C" NOT NULL,
  event_type       text COLLATE "C" NOT NULL,
  status           text COLLATE "C" NOT NULL,
  attempts         integer NOT NULL DEFAULT 0,
  -- Of them, those before the last redelivery, which starts the schedule anew.
  attempts_before  integer NOT NULL DEFAULT 0,
  last_attempt_at  timestamptz(3),
  next_attempt_at  timestamptz(3),
  -- Of the last attempt: what the receiver answered, or why it did not.
  response_status  integer,
  error            text COLLATE "C",
  created_at       timestamptz(3) NOT NULL,
  finished_at      timestamptz(3),
  CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT webhook_deliveries_endpoint_fkey FOREIGN KEY (account_id, endpoint_id)
    REFERENCES webhook_endpoints (account_id, id),
  CONSTRAINT webhook_deliveries_event_fkey FOREIGN KEY (account_id, event_id)
    REFERENCES webhook_events (account_id, id),
  -- One event is one delivery an endpoint, whoever publishes it how often.
  CONSTRAINT webhook_deliveries_event_endpoint_key UNIQUE (account_id, event_id, endpoint_id),
  CONSTRAINT webhook_deliveries_id_form CHECK (id LIKE 'wd\_%'),
  CONSTRAINT webhook_deliveries_status_known CHECK (status IN ('pending', 'succeeded', 'failed', 'canceled')),
  CONSTRAINT webhook_deliveries_attempts_counted CHECK (attempts_before BETWEEN 0 AND attempts),
  CONSTRAINT webhook_deliveries_pending_scheduled CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
  CONSTRAINT webhook_deliveries_finished_once CHECK ((status = 'pending') = (finished_at IS NULL)),
  CONSTRAINT webhook_deliveries_one_result CHECK (response_status IS NULL OR error IS NULL)
) WITH (fillfactor = 80);
-- The delivery log of an endpoint, newest first.
CREATE INDEX webhook_deliveries_endpoint_idx ON webhook_deliveries (account_id, endpoint_id, id);
-- What the retention job looks for.
CREATE INDEX webhook_deliveries_created_at_idx ON webhook_deliveries USING brin (created_at);

REVOKE DELETE ON webhook_endpoints FROM coffer_app;
REVOKE UPDATE ON webhook_events FROM coffer_app;
