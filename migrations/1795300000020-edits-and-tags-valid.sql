-- Looks through the rows that were there before the checks of the last migration; in a transaction of its own, so that
-- calls go on meanwhile (this takes no lock that a write waits for).

SET LOCAL lock_timeout = '5s';

ALTER TABLE generations VALIDATE CONSTRAINT generations_operation_known;
ALTER TABLE generations VALIDATE CONSTRAINT generations_edit_has_references;
ALTER TABLE generations VALIDATE CONSTRAINT generations_tag_length;
