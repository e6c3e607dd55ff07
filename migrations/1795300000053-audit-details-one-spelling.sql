-- The database seals audit events and the doctor computes them again in JavaScript, so both have to spell a value in the same way: numbers
-- are whole and exact in a double, and names of members sort the same as bytes and as UTF-16. The service writes no others.
-- Not validated: what was recorded before is never refused.
SET LOCAL lock_timeout = '5s';

ALTER TABLE audit_events ADD CONSTRAINT audit_events_one_spelling CHECK (
  NOT jsonb_path_exists(before, '$.** ? (@.type() == "number" && (@ % 1 != 0 || @ > 9007199254740991 || @ < -9007199254740991)
           || @.type() == "object" && exists (@.keyvalue() ? (!(@.key like_regex "^[ -~]*$"))))')
  AND NOT jsonb_path_exists(after, '$.** ? (@.type() == "number" && (@ % 1 != 0 || @ > 9007199254740991 || @ < -9007199254740991)
           || @.type() == "object" && exists (@.keyvalue() ? (!(@.key like_regex "^[ -~]*$"))))')) NOT VALID;
