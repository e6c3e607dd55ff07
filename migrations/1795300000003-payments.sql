-- Stripe: which customer object stands for which account, and the inbox of its events.
SET LOCAL lock_timeout = '5s';

-- A customer of test mode does not exist in live mode, so one account may have one of each.
CREATE TABLE stripe_customers (
  account_id   text COLLATE "C" NOT NULL,
  livemode     boolean NOT NULL,
  customer_id  text COLLATE "C" NOT NULL,
  -- Counts up when Stripe lost the customer (deleted in its dashboard, another sandbox) and we made a new one.
  generation   integer NOT NULL,
  created_at   timestamptz(3) NOT NULL,
  CONSTRAINT stripe_customers_pkey PRIMARY KEY (account_id, livemode),
  CONSTRAINT stripe_customers_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  CONSTRAINT stripe_customers_generation_positive CHECK (generation > 0)
);

-- Every event that Stripe delivered and signed, stored before it is acknowledged and worked on by a job.
CREATE TABLE stripe_events (
  id            text COLLATE "C" NOT NULL,
  type          text COLLATE "C" NOT NULL,
  -- What it is about: a hint, the job reads that object from Stripe.
  object_id     text COLLATE "C",
  livemode      boolean NOT NULL,
  -- As delivered. json keeps every byte's meaning; jsonb refuses U+0000, which a customer's name may contain.
  payload       json NOT NULL,
  received_at   timestamptz(3) NOT NULL,
  attempts      integer NOT NULL DEFAULT 0,
  last_error    text,
  outcome       text COLLATE "C",
  processed_at  timestamptz(3),
  CONSTRAINT stripe_events_pkey PRIMARY KEY (id),
  CONSTRAINT stripe_events_id_form CHECK (id LIKE 'evt\_%'),
  CONSTRAINT stripe_events_attempts_not_negative CHECK (attempts >= 0),
  CONSTRAINT stripe_events_outcome_known CHECK (outcome IN ('handled', 'ignored')),
  CONSTRAINT stripe_events_processed_once CHECK ((outcome IS NULL) = (processed_at IS NULL))
);
-- What still waits; small, whatever the size of the table.
CREATE INDEX stripe_events_waiting_idx ON stripe_events (received_at) WHERE processed_at IS NULL;

REVOKE DELETE ON stripe_customers, stripe_events FROM coffer_app;
