-- A scope of its own for charging saved cards (switching automatic top-up on, and changing what it may charge), and a mail
-- that tells an address of alerts that it was removed.
SET LOCAL lock_timeout = '5s';

-- The rows that are there are looked through by the next migration, without holding up requests.
ALTER TABLE api_keys DROP CONSTRAINT api_keys_scopes_of_kind;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_scopes_of_kind CHECK (
  cardinality(scopes) > 0 AND CASE WHEN account_id IS NULL
    THEN scopes <@ ARRAY['debits', 'finance', 'admin']
    ELSE scopes <@ ARRAY['generate', 'wallet:read', 'wallet:write', 'keys:write', 'cards:charge'] END) NOT VALID;

-- Until now 'wallet:write' was enough. The keys that have agreed to automatic charges go on; no other key gets the right by
-- itself, for most never use it and any of them may leak.
UPDATE api_keys k SET scopes = k.scopes || ARRAY['cards:charge']
 WHERE k.revoked_at IS NULL AND 'wallet:write' = ANY (k.scopes)
   AND EXISTS (SELECT FROM auto_top_up_consents c
                WHERE c.account_id = k.account_id AND c.agreed_by = 'account_key:' || k.id);

ALTER TABLE alert_emails DROP CONSTRAINT alert_emails_event_unless_question;
ALTER TABLE alert_emails ADD CONSTRAINT alert_emails_event_of_alerts CHECK (
  (event_id IS NULL) = (kind IN ('confirmation', 'address_removed'))) NOT VALID;
