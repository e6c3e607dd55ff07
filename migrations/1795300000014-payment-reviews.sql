-- Payments that contradict what was quoted, or that were not asked for: a person looks, and decides.
SET LOCAL lock_timeout = '5s';

CREATE TABLE payment_reviews (
  account_id         text COLLATE "C" NOT NULL,
  id                 text COLLATE "C" NOT NULL,
  top_up_id          text COLLATE "C" NOT NULL,
  status             text COLLATE "C" NOT NULL,
  -- Stripe's own id of the payment: a Checkout Session, or the PaymentIntent of a saved card.
  payment            text COLLATE "C" NOT NULL,
  payment_intent_id  text COLLATE "C",
  -- Whether Stripe holds money, and how much of which currency it says.
  paid               boolean NOT NULL,
  amount_cents       bigint,
  currency           text COLLATE "C",
  contradictions     text NOT NULL,
  -- Counts how often the payment was sent back: each is a request of its own to Stripe.
  returns            integer NOT NULL DEFAULT 0,
  stripe_refund_id   text COLLATE "C",
  failure_code       text COLLATE "C",
  created_at         timestamptz(3) NOT NULL,
  checked_at         timestamptz(3) NOT NULL,
  CONSTRAINT payment_reviews_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT payment_reviews_top_up_fkey FOREIGN KEY (account_id, top_up_id) REFERENCES top_ups (account_id, id),
  -- However often Stripe speaks of a payment, it is one review.
  CONSTRAINT payment_reviews_payment_key UNIQUE (account_id, payment),
  CONSTRAINT payment_reviews_id_form CHECK (id LIKE 'rv\_%'),
  CONSTRAINT payment_reviews_status_known CHECK (
    status IN ('open', 'returning', 'returned', 'failed', 'dismissed', 'credited')),
  CONSTRAINT payment_reviews_returned_at_stripe CHECK (status <> 'returned' OR stripe_refund_id IS NOT NULL),
  CONSTRAINT payment_reviews_returns_counted CHECK (
    returns >= 0 AND (returns > 0 OR status NOT IN ('returning', 'failed')))
);
-- Operators and news from Stripe name a review, or its payment, without the account.
CREATE INDEX payment_reviews_id_idx ON payment_reviews (id);
CREATE INDEX payment_reviews_payment_intent_id_idx ON payment_reviews (payment_intent_id)
  WHERE payment_intent_id IS NOT NULL;
CREATE INDEX payment_reviews_top_up_idx ON payment_reviews (account_id, top_up_id);
-- What waits for a person or for Stripe; small, whatever the size of the table.
CREATE INDEX payment_reviews_waiting_idx ON payment_reviews (checked_at)
  WHERE status IN ('open', 'returning', 'failed');

-- Who decided what, when and why; never changed.
CREATE TABLE payment_review_decisions (
  account_id  text COLLATE "C" NOT NULL,
  review_id   text COLLATE "C" NOT NULL,
  number      integer NOT NULL,
  decision    text COLLATE "C" NOT NULL,
  actor       text COLLATE "C" NOT NULL,
  reason      text NOT NULL,
  decided_at  timestamptz(3) NOT NULL,
  CONSTRAINT payment_review_decisions_pkey PRIMARY KEY (account_id, review_id, number),
  CONSTRAINT payment_review_decisions_review_fkey FOREIGN KEY (account_id, review_id)
    REFERENCES payment_reviews (account_id, id),
  CONSTRAINT payment_review_decisions_known CHECK (decision IN ('return', 'dismiss')),
  CONSTRAINT payment_review_decisions_text_length CHECK (char_length(reason) BETWEEN 1 AND 500)
);

-- Looked at by a person, and brings no credit: neither late news nor anybody's mistake changes that.
ALTER TABLE top_ups
  DROP CONSTRAINT top_ups_status_known,
  ADD CONSTRAINT top_ups_status_known CHECK (
    status IN ('created', 'pending', 'processing', 'paid', 'expired', 'failed', 'needs_review', 'rejected'));
CREATE TRIGGER top_ups_rejected_for_good BEFORE UPDATE ON top_ups
  FOR EACH ROW WHEN (OLD.status = 'rejected' AND NEW.status <> OLD.status) EXECUTE FUNCTION refuse_top_up_change();

-- A decision stays: credited is never sent back from here, and what went back is never credited. Only a return that
-- Stripe fails is looked at again, and a dismissal when money comes after all.
CREATE FUNCTION refuse_payment_review_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'payment review % is % and stays so', OLD.id, OLD.status
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'payment_reviews_decided_once';
END $$;
CREATE TRIGGER payment_reviews_decided_once BEFORE UPDATE ON payment_reviews
  FOR EACH ROW WHEN (
    (OLD.status <> NEW.status AND (OLD.status, NEW.status) NOT IN (
      ('open', 'returning'), ('open', 'returned'), ('open', 'dismissed'), ('open', 'credited'),
      ('returning', 'returned'), ('returning', 'failed'), ('returned', 'failed'),
      ('failed', 'returning'), ('failed', 'returned'), ('failed', 'dismissed'), ('dismissed', 'open')))
    OR (NEW.account_id, NEW.id, NEW.top_up_id, NEW.payment) IS DISTINCT FROM
       (OLD.account_id, OLD.id, OLD.top_up_id, OLD.payment)
  ) EXECUTE FUNCTION refuse_payment_review_change();

-- What waited for review before reviews had rows; Stripe's next word completes them.
INSERT INTO payment_reviews (account_id, id, top_up_id, status, payment, payment_intent_id, paid, contradictions,
                             created_at, checked_at)
SELECT account_id, 'rv_' || substr(id, 4), id, 'open', coalesce(checkout_session_id, payment_intent_id),
       payment_intent_id, payment_intent_id IS NOT NULL, 'from before reviews were kept; the log has it',
       checked_at, checked_at
  FROM top_ups WHERE status = 'needs_review' AND coalesce(checkout_session_id, payment_intent_id) IS NOT NULL;

REVOKE DELETE ON payment_reviews FROM coffer_app;
REVOKE UPDATE, DELETE ON payment_review_decisions FROM coffer_app;
