-- Clients that send a call again and say nothing of it: for how many seconds after an answer the same request with the same API
-- key gets that answer again. 0, the default, is off.
SET LOCAL lock_timeout = '5s';

ALTER TABLE api_keys
  ADD COLUMN duplicate_window_seconds smallint NOT NULL DEFAULT 0,
  -- Not validated: every row that is there has the default. Looking would lock the table for as long as it is large.
  ADD CONSTRAINT api_keys_duplicate_window_bounded CHECK (duplicate_window_seconds BETWEEN 0 AND 30) NOT VALID;
