-- Looks through the rows that were there before the checks; in a transaction of its own, so that requests go on meanwhile
-- (this takes no lock that a write waits for).
SET LOCAL lock_timeout = '5s';

ALTER TABLE api_keys VALIDATE CONSTRAINT api_keys_scopes_of_kind;
ALTER TABLE alert_emails VALIDATE CONSTRAINT alert_emails_event_of_alerts;
