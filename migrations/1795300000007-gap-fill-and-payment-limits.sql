-- How far Stripe's events were listed, to find those that never arrived; and what the limits on payments count.
SET LOCAL lock_timeout = '5s';

-- One row for each type of event that is acted on: a type that a new version adds begins at its own beginning.
CREATE TABLE stripe_event_cursors (
  livemode        boolean NOT NULL,
  type            text COLLATE "C" NOT NULL,
  -- Every event that was created before this was listed, and stored when it was missing.
  complete_until  timestamptz(3) NOT NULL,
  -- A listing that is not finished: up to when it goes, and the last event of it that was seen (newest first).
  window_until    timestamptz(3),
  after_id        text COLLATE "C",
  CONSTRAINT stripe_event_cursors_pkey PRIMARY KEY (livemode, type),
  CONSTRAINT stripe_event_cursors_window_whole CHECK ((window_until IS NULL) = (after_id IS NULL))
-- A few rows, each rewritten every few minutes: room on the page keeps the updates out of the index.
) WITH (fillfactor = 50);

-- Who asked for a payment page: an IPv4 address, or the /64 of an IPv6 address. Null when nobody did, and for
-- top-ups from before it was noted.
ALTER TABLE top_ups ADD COLUMN client_address text COLLATE "C";
-- The payment pages of the last day, by account and by address.
CREATE INDEX top_ups_account_opened_idx ON top_ups (account_id, created_at) WHERE client_address IS NOT NULL;
CREATE INDEX top_ups_address_opened_idx ON top_ups (client_address, created_at) WHERE client_address IS NOT NULL;

-- Every refused attempt to pay with a card, under the id of Stripe's charge: told twice, it counts once.
CREATE TABLE payment_failures (
  account_id      text COLLATE "C" NOT NULL,
  charge_id       text COLLATE "C" NOT NULL,
  top_up_id       text COLLATE "C" NOT NULL,
  client_address  text COLLATE "C",
  -- Stripe's own code, such as `insufficient_funds`; for people.
  reason          text COLLATE "C",
  -- When the attempt was made, not when we heard of it.
  failed_at       timestamptz(3) NOT NULL,
  CONSTRAINT payment_failures_pkey PRIMARY KEY (account_id, charge_id),
  CONSTRAINT payment_failures_top_up_fkey FOREIGN KEY (account_id, top_up_id) REFERENCES top_ups (account_id, id)
);
CREATE INDEX payment_failures_account_idx ON payment_failures (account_id, failed_at);
CREATE INDEX payment_failures_address_idx ON payment_failures (client_address, failed_at)
  WHERE client_address IS NOT NULL;

REVOKE DELETE ON stripe_event_cursors, payment_failures FROM coffer_app;
