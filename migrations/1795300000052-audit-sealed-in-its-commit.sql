-- Every audit event gets its place in the hash chain in its own commit (ADR 48), by a deferred trigger. Before, a job sealed events
-- up to a minute later. What is sealed already stays as it is, and the chain goes on from its last hash, in the same form.
SET LOCAL lock_timeout = '5s';

-- In the order in which the job of the version before takes them: it may be sealing right now.
SELECT pg_advisory_xact_lock(4711047);
LOCK TABLE audit_events IN SHARE ROW EXCLUSIVE MODE;
LOCK TABLE audit_seals IN SHARE ROW EXCLUSIVE MODE;

-- The end of the chain, in one row: commits that add events take it one after the other.
CREATE TABLE audit_head (
  id    smallint NOT NULL DEFAULT 1,
  -- Of the last seal; 0: none yet.
  seq   bigint NOT NULL,
  hash  bytea NOT NULL,
  CONSTRAINT audit_head_pkey PRIMARY KEY (id),
  CONSTRAINT audit_head_is_one CHECK (id = 1),
  CONSTRAINT audit_head_hash_length CHECK (octet_length(hash) = 32)
);
INSERT INTO audit_head (seq, hash)
SELECT coalesce(max(seq), 0), coalesce((SELECT hash FROM audit_seals ORDER BY seq DESC LIMIT 1), decode(repeat('00', 32), 'hex'))
  FROM audit_seals;

CREATE TRIGGER audit_head_append_only BEFORE DELETE ON audit_head
  FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_head_goes_on BEFORE UPDATE ON audit_head
  FOR EACH ROW WHEN (NEW.seq <> OLD.seq + 1) EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_head_no_truncate BEFORE TRUNCATE ON audit_head
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- As `canonicalJson` in src/audit/audit-chain.ts spells it: without spaces, members sorted by name.
CREATE FUNCTION audit_json(value jsonb) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  CASE jsonb_typeof(value)
    WHEN 'object' THEN
      RETURN '{' || coalesce((SELECT string_agg(to_json(m.key)::text || ':' || public.audit_json(m.value), ',' ORDER BY m.key COLLATE "C")
                                FROM jsonb_each(value) m), '') || '}';
    WHEN 'array' THEN
      RETURN '[' || coalesce((SELECT string_agg(public.audit_json(e.value), ',' ORDER BY e.place)
                                FROM jsonb_array_elements(value) WITH ORDINALITY e (value, place)), '') || ']';
    WHEN 'number' THEN
      RETURN trim_scale(value::text::numeric)::text;
    ELSE
      RETURN value::text;
  END CASE;
END $$;

-- As `auditHash` in src/audit/audit-chain.ts.
CREATE FUNCTION audit_hash(previous bytea, seq bigint, event audit_events) RETURNS bytea LANGUAGE sql STABLE AS $$
  SELECT sha256(convert_to(encode(previous, 'hex') || chr(10) || '[' || array_to_string(ARRAY[
    to_json(seq::text)::text,
    to_json(event.id)::text,
    to_json(to_char(event.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))::text,
    to_json(event.actor)::text,
    to_json(event.act)::text,
    to_json(event.object_type)::text,
    to_json(event.object_id)::text,
    to_json(event.account_id)::text,
    public.audit_json(event.before),
    public.audit_json(event.after),
    to_json(event.reason)::text,
    to_json(event.request_id)::text,
    to_json(event.client_address)::text
  ], ',', 'null') || ']', 'UTF8'))
$$;

-- The lock on the head is the last one that a tx takes, and is kept to the end of its commit.
CREATE FUNCTION seal_audit_event(event audit_events) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  head public.audit_head;
BEGIN
  -- By its key: the wallet engine's sessions do without sequential scans, and one that is forced has a cost that makes the server compile it.
  UPDATE public.audit_head h SET seq = h.seq + 1, hash = public.audit_hash(h.hash, h.seq + 1, event) WHERE h.id = 1
    RETURNING h.* INTO STRICT head;
  INSERT INTO public.audit_seals (seq, event_number, hash) VALUES (head.seq, event.number, head.hash);
END $$;

DO $$
DECLARE
  event audit_events;
BEGIN
  FOR event IN
    SELECT e.* FROM audit_events e WHERE NOT EXISTS (SELECT FROM audit_seals s WHERE s.event_number = e.number) ORDER BY e.number
  LOOP
    PERFORM seal_audit_event(event);
  END LOOP;
END $$;

-- With the owner's rights: the service itself may not write the chain.
CREATE FUNCTION seal_inserted_audit_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- `statement_timeout` does not count inside COMMIT, so this wait would have no end for sessions without a limit of their own.
  IF current_setting('lock_timeout') = '0' THEN
    PERFORM set_config('lock_timeout', '2s', true);
  END IF;
  PERFORM public.seal_audit_event(NEW);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION seal_inserted_audit_event() FROM PUBLIC;

-- Deferred: it fires inside COMMIT, so no client has to say anything while its tx has the head.
CREATE CONSTRAINT TRIGGER audit_events_sealed AFTER INSERT ON audit_events
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seal_inserted_audit_event();
