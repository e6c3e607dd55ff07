-- Which credit was bought and may go back to a card. Until now every paid lot counted, so goodwill could be cashed out.
SET LOCAL lock_timeout = '5s';

ALTER TABLE credit_lots ADD COLUMN refundable boolean;
UPDATE credit_lots SET refundable = source IN ('top_up', 'reinstatement');

-- A process of an earlier release says nothing: then it follows from the source. Looked at when a lot is made and not by a
-- check, which Postgres would plan anew for every charge that takes from a lot.
CREATE FUNCTION refuse_refundable_gift() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.refundable IS NULL THEN NEW.refundable := NEW.source IN ('top_up', 'reinstatement'); END IF;
  IF NEW.refundable AND (NEW.kind <> 'paid' OR NEW.source NOT IN ('top_up', 'reinstatement')) THEN
    RAISE EXCEPTION 'the lot % of % was not bought: it is never refundable', NEW.id, NEW.source
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'credit_lots_refundable_is_bought';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER credit_lots_refundable_is_bought BEFORE INSERT ON credit_lots
  FOR EACH ROW EXECUTE FUNCTION refuse_refundable_gift();

CREATE FUNCTION refuse_refundable_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'whether the lot % may be refunded is decided when it is made', OLD.id
    USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'credit_lots_refundable_fixed';
END $$;
CREATE TRIGGER credit_lots_refundable_fixed BEFORE UPDATE OF refundable, source, kind ON credit_lots
  FOR EACH ROW WHEN (
    (NEW.refundable, NEW.source, NEW.kind) IS DISTINCT FROM (OLD.refundable, OLD.source, OLD.kind)
  ) EXECUTE FUNCTION refuse_refundable_change();

ALTER TABLE credit_lots ALTER COLUMN refundable SET NOT NULL;
