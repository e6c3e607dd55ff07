-- What a call was: new images from text, or an edit of reference images; and the tag that the customer counts it under.

SET LOCAL lock_timeout = '5s';

ALTER TABLE generations
  ADD COLUMN operation text COLLATE "C" NOT NULL DEFAULT 'generation',
  -- How many reference images came with it. They are not kept.
  ADD COLUMN references_count smallint NOT NULL DEFAULT 0,
  -- `x-coffer-tag`, as sent.
  ADD COLUMN tag text COLLATE "C",
  -- Validated by the next migration, without the lock.
  ADD CONSTRAINT generations_operation_known CHECK (operation IN ('generation', 'edit')) NOT VALID,
  ADD CONSTRAINT generations_edit_has_references CHECK (
    (operation = 'edit') = (references_count > 0) AND references_count BETWEEN 0 AND 16) NOT VALID,
  ADD CONSTRAINT generations_tag_length CHECK (length(tag) BETWEEN 1 AND 128) NOT VALID;
