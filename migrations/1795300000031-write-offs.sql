-- What is written off of a dispute's debt is decided by the ledger; the dispute's row copies it afterwards.
SET LOCAL lock_timeout = '5s';

-- Earlier releases wrote the amount first. Where the ledger never followed, nothing was given up, and the next attempt
-- decides anew.
ALTER TABLE disputes DISABLE TRIGGER disputes_fixed;
UPDATE disputes d SET written_off_micros = NULL
 WHERE written_off_micros IS NOT NULL
   AND NOT EXISTS (SELECT FROM transfers t
                    WHERE t.account_id = d.account_id AND t.reference = 'dispute:' || d.id || ':written_off');
ALTER TABLE disputes ENABLE TRIGGER disputes_fixed;
