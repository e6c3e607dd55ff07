-- When a key was last used: a key that nobody uses is one that nobody misses when it is revoked.
SET LOCAL lock_timeout = '5s';

-- To a minute or two: written in batches, never by a request. Null: not since this was recorded.
ALTER TABLE api_keys ADD COLUMN last_used_at timestamptz(3);
GRANT UPDATE (last_used_at) ON api_keys TO coffer_app;
-- Room on the page for the next version of a row: no index has the column, so none is written.
ALTER TABLE api_keys SET (fillfactor = 80);
