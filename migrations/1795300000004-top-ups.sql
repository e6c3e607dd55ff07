-- Top-ups: credit that a customer buys, from the request to the settled payment.
SET LOCAL lock_timeout = '5s';

CREATE TABLE top_ups (
  account_id           text COLLATE "C" NOT NULL,
  id                   text COLLATE "C" NOT NULL,
  status               text COLLATE "C" NOT NULL,
  -- The quote. What is paid is exactly what is credited plus the fee, to the cent.
  credit_micros        bigint NOT NULL,
  fee_micros           bigint NOT NULL,
  charge_cents         bigint NOT NULL,
  fee_mode             text COLLATE "C" NOT NULL,
  fee_bps              integer NOT NULL,
  livemode             boolean NOT NULL,
  -- The lot that the credit will be, chosen before anything is paid: however often it settles, it is this one.
  lot_id               text COLLATE "C" NOT NULL,
  -- The whole request to Stripe stands here, so that it can be repeated word for word after a restart.
  save_card            boolean NOT NULL,
  success_url          text NOT NULL,
  cancel_url           text NOT NULL,
  expires_at           timestamptz(3) NOT NULL,
  customer_id          text COLLATE "C",
  checkout_session_id  text COLLATE "C",
  checkout_url         text,
  payment_intent_id    text COLLATE "C",
  failure_code         text COLLATE "C",
  -- Of the client's request: the same key with another fingerprint is refused.
  idempotency_key      text COLLATE "C",
  fingerprint          text COLLATE "C" NOT NULL,
  created_by           text COLLATE "C" NOT NULL,
  created_at           timestamptz(3) NOT NULL,
  -- When it last moved, or was last compared with Stripe.
  checked_at           timestamptz(3) NOT NULL,
  paid_at              timestamptz(3),
  CONSTRAINT top_ups_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT top_ups_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  CONSTRAINT top_ups_idempotency_key_key UNIQUE (account_id, idempotency_key),
  CONSTRAINT top_ups_checkout_session_id_key UNIQUE (account_id, checkout_session_id),
  CONSTRAINT top_ups_id_form CHECK (id LIKE 'tu\_%'),
  CONSTRAINT top_ups_status_known CHECK (
    status IN ('created', 'pending', 'processing', 'paid', 'expired', 'failed', 'needs_review')),
  CONSTRAINT top_ups_amounts CHECK (
    credit_micros > 0 AND fee_micros >= 0 AND credit_micros + fee_micros = charge_cents * 10000),
  CONSTRAINT top_ups_fee_mode_known CHECK (fee_mode IN ('on_top', 'deducted')),
  CONSTRAINT top_ups_fee_bps_range CHECK (fee_bps BETWEEN 0 AND 10000),
  CONSTRAINT top_ups_paid_at_when_paid CHECK ((status = 'paid') = (paid_at IS NOT NULL)),
  CONSTRAINT top_ups_paid_by_session CHECK (status <> 'paid' OR checkout_session_id IS NOT NULL)
);
-- Stripe's objects name a top-up by its id alone.
CREATE INDEX top_ups_id_idx ON top_ups (id);
-- What is still open; small, whatever the size of the table.
CREATE INDEX top_ups_open_idx ON top_ups (checked_at) WHERE status IN ('created', 'pending', 'processing');

-- A quote holds, and what is paid stays paid, whoever writes.
CREATE FUNCTION refuse_top_up_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'top-up % is % and its quote is fixed', OLD.id, OLD.status
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'top_ups_settled_once';
END $$;
CREATE TRIGGER top_ups_settled_once BEFORE UPDATE ON top_ups
  FOR EACH ROW WHEN (
    (OLD.status = 'paid' AND (NEW.status, NEW.paid_at, NEW.checkout_session_id)
      IS DISTINCT FROM (OLD.status, OLD.paid_at, OLD.checkout_session_id))
    OR (NEW.account_id, NEW.id, NEW.lot_id, NEW.credit_micros, NEW.fee_micros, NEW.charge_cents, NEW.livemode)
      IS DISTINCT FROM (OLD.account_id, OLD.id, OLD.lot_id, OLD.credit_micros, OLD.fee_micros, OLD.charge_cents, OLD.livemode)
  ) EXECUTE FUNCTION refuse_top_up_change();

REVOKE DELETE ON top_ups FROM coffer_app;
