-- Looks through the rows that were there before the check; in a transaction of its own, so that calls go on meanwhile
-- (this takes no lock that a write waits for).

SET LOCAL lock_timeout = '5s';

ALTER TABLE generations VALIDATE CONSTRAINT generations_only_delivered_deleted;
