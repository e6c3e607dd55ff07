-- Alerts of a wallet: who is told by e-mail, and the mails that are on their way. Webhooks have tables of their own.
SET LOCAL lock_timeout = '5s';

-- The low mark itself stands on the wallet, where the engine sees it.
CREATE TABLE wallet_alerts (
  account_id          text COLLATE "C" NOT NULL,
  -- False: nobody has chosen a low mark, so the first who asks to be told sets the default one.
  low_mark_chosen     boolean NOT NULL DEFAULT false,
  -- Null: nobody is told by e-mail.
  email               text,
  -- Null: the address has not said yet that it wants mail. Nothing but the question goes there.
  email_confirmed_at  timestamptz(3),
  -- Of the link in the question: a hash, because the link confirms for whoever holds it.
  confirm_hash        bytea,
  confirm_expires_at  timestamptz(3),
  CONSTRAINT wallet_alerts_pkey PRIMARY KEY (account_id),
  CONSTRAINT wallet_alerts_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  -- The form that the application takes, once more: no space, no control character, one @.
  CONSTRAINT wallet_alerts_email_form CHECK (email ~ '^[!-?A-~]+@[!-?A-~]+$' AND char_length(email) <= 254),
  CONSTRAINT wallet_alerts_confirmed_address CHECK (email_confirmed_at IS NULL OR email IS NOT NULL),
  CONSTRAINT wallet_alerts_confirm_whole CHECK (
    (confirm_hash IS NULL) = (confirm_expires_at IS NULL) AND (confirm_hash IS NULL OR email IS NOT NULL))
);

-- One mail. Queued in the tx that publishes its event; a handful of updates, so pages keep room for them.
CREATE TABLE alert_emails (
  account_id       text COLLATE "C" NOT NULL,
  id               text COLLATE "C" NOT NULL,
  -- The event's type, or the question whether the address wants mail at all.
  kind             text COLLATE "C" NOT NULL,
  -- The webhook event that the mail tells of, and the name that the mail carries. Events are forgotten earlier
  -- than mails may be, so this is no foreign key.
  event_id         text COLLATE "C",
  -- As it was when the mail was queued; another address by now gets nothing that was meant for this one.
  address          text NOT NULL,
  data             text NOT NULL,
  status           text COLLATE "C" NOT NULL,
  attempts         integer NOT NULL DEFAULT 0,
  next_attempt_at  timestamptz(3),
  -- A code of the transport or the server's status, never its words.
  error            text COLLATE "C",
  created_at       timestamptz(3) NOT NULL,
  finished_at      timestamptz(3),
  CONSTRAINT alert_emails_pkey PRIMARY KEY (account_id, id),
  CONSTRAINT alert_emails_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
  -- One event is one mail, whoever publishes it how often.
  CONSTRAINT alert_emails_event_key UNIQUE (account_id, event_id),
  CONSTRAINT alert_emails_id_form CHECK (id LIKE 'eml\_%'),
  CONSTRAINT alert_emails_event_unless_question CHECK ((event_id IS NULL) = (kind = 'confirmation')),
  CONSTRAINT alert_emails_data_size CHECK (octet_length(data) BETWEEN 1 AND 20000),
  CONSTRAINT alert_emails_status_known CHECK (status IN ('pending', 'sent', 'failed', 'canceled')),
  CONSTRAINT alert_emails_attempts_counted CHECK (attempts >= 0),
  CONSTRAINT alert_emails_pending_scheduled CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
  CONSTRAINT alert_emails_finished_once CHECK ((status = 'pending') = (finished_at IS NULL))
) WITH (fillfactor = 80);
-- How many questions an address was sent of late, whichever account asked for them.
CREATE INDEX alert_emails_questions_idx ON alert_emails (address, created_at) WHERE kind = 'confirmation';
-- The oldest that is due, for the metrics. Few rows are pending at any time.
CREATE INDEX alert_emails_pending_idx ON alert_emails (next_attempt_at) WHERE status = 'pending';
-- What the retention job looks for.
CREATE INDEX alert_emails_created_at_idx ON alert_emails USING brin (created_at);

-- The same two questions of the webhooks.
CREATE INDEX webhook_deliveries_pending_idx ON webhook_deliveries (next_attempt_at) WHERE status = 'pending';
-- Which secrets an older master key still seals: everything below and above the newest key's name.
CREATE INDEX webhook_endpoints_secret_key_idx ON webhook_endpoints (secret_key_id) WHERE secret_key_id IS NOT NULL;
CREATE INDEX webhook_endpoints_previous_secret_key_idx ON webhook_endpoints (previous_secret_key_id)
  WHERE previous_secret_key_id IS NOT NULL;

REVOKE DELETE ON wallet_alerts FROM coffer_app;
