-- Auto top-up: the cards that customers let us keep, what they agreed to, and charges with nobody present.
SET LOCAL lock_timeout = '5s';

CREATE TABLE saved_cards (
  account_id       text COLLATE "C" NOT NULL,
  -- Stripe's own id of the payment method.
  id               text COLLATE "C" NOT NULL,
  livemode         boolean NOT NULL,
  customer_id      text COLLATE "C" NOT NULL,
  brand            text NOT NULL,
  last4            text NOT NULL,
  exp_month        integer NOT NULL,
  exp_year         integer NOT NULL,
  -- The consent to keep it, given with this top-up: which words, by whom, from where, when.
  top_up_id        text COLLATE "C" NOT NULL,
  consent_version  text COLLATE "C" NOT NULL,
  consent_address  text COLLATE "C",
  consented_by     text COLLATE "C" NOT NULL,
  consented_at     timestamptz(3) NOT NULL,
  -- Since when Stripe will not charge it any more for us.
  detached_at      timestamptz(3),
  CONSTRAINT saved_cards_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT saved_cards_top_up_fkey FOREIGN KEY (account_id, top_up_id) REFERENCES top_ups (account_id, id),
  CONSTRAINT saved_cards_expiry_known CHECK (exp_month BETWEEN 1 AND 12 AND exp_year BETWEEN 2000 AND 9999)
);
-- News from Stripe name a card, or its customer, by Stripe's id alone.
CREATE INDEX saved_cards_id_idx ON saved_cards (id);
CREATE INDEX saved_cards_customer_id_idx ON saved_cards (customer_id);

CREATE TABLE auto_top_ups (
  account_id         text COLLATE "C" NOT NULL,
  livemode           boolean NOT NULL,
  status             text COLLATE "C" NOT NULL,
  off_reason         text COLLATE "C",
  -- Counts every time the account said what it wants.
  revision           integer NOT NULL,
  threshold_micros   bigint NOT NULL,
  amount_cents       bigint NOT NULL,
  -- Of charges made, by the UTC day and month in which they were started; money is what the card pays, fee included.
  daily_max_count    integer NOT NULL,
  daily_max_cents    bigint NOT NULL,
  monthly_max_count  integer NOT NULL,
  monthly_max_cents  bigint NOT NULL,
  cooldown_seconds   integer NOT NULL,
  card_id            text COLLATE "C" NOT NULL,
  switched_on_at     timestamptz(3) NOT NULL,
  updated_at         timestamptz(3) NOT NULL,
  -- While a person is needed: the charge that the bank refused without her, and the payment page instead of it.
  failed_top_up_id   text COLLATE "C",
  action_top_up_id   text COLLATE "C",
  CONSTRAINT auto_top_ups_pkey PRIMARY KEY (account_id, livemode),
  CONSTRAINT auto_top_ups_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  CONSTRAINT auto_top_ups_card_fkey FOREIGN KEY (account_id, card_id) REFERENCES saved_cards (account_id, id),
  CONSTRAINT auto_top_ups_status_known CHECK (status IN ('on', 'action_required', 'off')),
  CONSTRAINT auto_top_ups_off_for_a_reason CHECK ((status = 'off') = (off_reason IS NOT NULL)),
  CONSTRAINT auto_top_ups_action_after_failure CHECK (
    (status = 'action_required') = (failed_top_up_id IS NOT NULL)
    AND (action_top_up_id IS NULL OR failed_top_up_id IS NOT NULL)),
  CONSTRAINT auto_top_ups_amounts CHECK (threshold_micros > 0 AND amount_cents > 0),
  CONSTRAINT auto_top_ups_caps_positive CHECK (
    daily_max_count > 0 AND daily_max_cents > 0 AND monthly_max_count > 0 AND monthly_max_cents > 0
    AND cooldown_seconds > 0)
-- A few changes for each row: room on the page keeps them out of the index.
) WITH (fillfactor = 80);

-- What was agreed to, each time; never changed.
CREATE TABLE auto_top_up_consents (
  account_id         text COLLATE "C" NOT NULL,
  livemode           boolean NOT NULL,
  revision           integer NOT NULL,
  -- Which words, by whom, from where, when.
  version            text COLLATE "C" NOT NULL,
  agreed_by          text COLLATE "C" NOT NULL,
  client_address     text COLLATE "C" NOT NULL,
  agreed_at          timestamptz(3) NOT NULL,
  -- And to what.
  card_id            text COLLATE "C" NOT NULL,
  threshold_micros   bigint NOT NULL,
  amount_cents       bigint NOT NULL,
  daily_max_count    integer NOT NULL,
  daily_max_cents    bigint NOT NULL,
  monthly_max_count  integer NOT NULL,
  monthly_max_cents  bigint NOT NULL,
  cooldown_seconds   integer NOT NULL,
  CONSTRAINT auto_top_up_consents_pkey PRIMARY KEY (account_id, livemode, revision),
  CONSTRAINT auto_top_up_consents_auto_top_up_fkey FOREIGN KEY (account_id, livemode)
    REFERENCES auto_top_ups (account_id, livemode)
);
REVOKE UPDATE, DELETE ON auto_top_up_consents FROM coffer_app;
REVOKE DELETE ON saved_cards, auto_top_ups FROM coffer_app;

-- A default, because processes of the last version still write rows while this one is rolled out.
ALTER TABLE top_ups
  ADD COLUMN kind text COLLATE "C" NOT NULL DEFAULT 'checkout',
  -- The card that is charged with nobody present.
  ADD COLUMN payment_method_id text COLLATE "C",
  -- Written before Stripe is asked to charge: from then on the charge may exist.
  ADD COLUMN dispatched_at timestamptz(3),
  -- The issuer's word, such as `insufficient_funds`.
  ADD COLUMN decline_code text COLLATE "C",
  ADD CONSTRAINT top_ups_kind_known CHECK (kind IN ('checkout', 'auto')),
  ADD CONSTRAINT top_ups_auto_by_card CHECK (
    (kind = 'auto') = (payment_method_id IS NOT NULL) AND (kind = 'auto' OR dispatched_at IS NULL)
    AND (kind = 'checkout' OR customer_id IS NOT NULL)),
  DROP CONSTRAINT top_ups_paid_by_session,
  ADD CONSTRAINT top_ups_paid_by_session CHECK (
    status <> 'paid' OR checkout_session_id IS NOT NULL OR (kind = 'auto' AND payment_intent_id IS NOT NULL));

-- One at a time; one that contradicts itself keeps the next from being charged until a person has looked.
CREATE UNIQUE INDEX top_ups_auto_in_flight_key ON top_ups (account_id, livemode)
  WHERE kind = 'auto' AND status IN ('created', 'pending', 'processing', 'needs_review');
-- The charges of a day and of a month, and the last ones.
CREATE INDEX top_ups_auto_idx ON top_ups (account_id, created_at) WHERE kind = 'auto';

-- The caps hold whoever writes and however many at once: the row of the account's settings is locked. A charge that
-- failed took nothing, so it is not counted.
CREATE FUNCTION refuse_auto_top_up_beyond_caps() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  wanted record;
  used record;
BEGIN
  SELECT * INTO wanted FROM auto_top_ups
   WHERE account_id = NEW.account_id AND livemode = NEW.livemode FOR UPDATE;
  SELECT count(*) FILTER (WHERE created_at >= date_trunc('day', NEW.created_at, 'UTC')) AS day_count,
         coalesce(sum(charge_cents) FILTER (WHERE created_at >= date_trunc('day', NEW.created_at, 'UTC')), 0) AS day_cents,
         count(*) AS month_count, coalesce(sum(charge_cents), 0) AS month_cents
    INTO used FROM top_ups
   WHERE account_id = NEW.account_id AND livemode = NEW.livemode AND kind = 'auto' AND id <> NEW.id
     AND status NOT IN ('failed', 'expired') AND created_at >= date_trunc('month', NEW.created_at, 'UTC');
  IF wanted.status IS DISTINCT FROM 'on'
     OR used.day_count + 1 > wanted.daily_max_count OR used.day_cents + NEW.charge_cents > wanted.daily_max_cents
     OR used.month_count + 1 > wanted.monthly_max_count OR used.month_cents + NEW.charge_cents > wanted.monthly_max_cents
  THEN
    RAISE EXCEPTION 'auto top-up % is not wanted, or goes beyond a cap', NEW.id
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'top_ups_auto_within_caps';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER top_ups_auto_within_caps BEFORE INSERT ON top_ups
  FOR EACH ROW WHEN (NEW.kind = 'auto') EXECUTE FUNCTION refuse_auto_top_up_beyond_caps();

-- Off means off: nothing goes to Stripe after the account said so, whatever was queued before.
CREATE FUNCTION refuse_auto_top_up_after_off() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  wanted text;
BEGIN
  SELECT status INTO wanted FROM auto_top_ups
   WHERE account_id = NEW.account_id AND livemode = NEW.livemode FOR UPDATE;
  IF wanted IS DISTINCT FROM 'on' THEN
    RAISE EXCEPTION 'auto top-up % may not be charged any more', NEW.id
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'top_ups_auto_while_on';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER top_ups_auto_while_on BEFORE UPDATE ON top_ups
  FOR EACH ROW WHEN (NEW.dispatched_at IS NOT NULL AND OLD.dispatched_at IS DISTINCT FROM NEW.dispatched_at)
  EXECUTE FUNCTION refuse_auto_top_up_after_off();

-- Whose card is charged is part of the quote; it stays, and so does the payment that settled it.
CREATE TRIGGER top_ups_auto_settled_once BEFORE UPDATE ON top_ups
  FOR EACH ROW WHEN (
    (NEW.kind, NEW.payment_method_id) IS DISTINCT FROM (OLD.kind, OLD.payment_method_id)
    OR (OLD.kind = 'auto' AND NEW.customer_id IS DISTINCT FROM OLD.customer_id)
    OR (OLD.dispatched_at IS NOT NULL AND NEW.dispatched_at IS DISTINCT FROM OLD.dispatched_at)
    OR (OLD.kind = 'auto' AND OLD.status = 'paid' AND NEW.payment_intent_id IS DISTINCT FROM OLD.payment_intent_id)
  ) EXECUTE FUNCTION refuse_top_up_change();
