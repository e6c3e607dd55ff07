-- When the customer had the images of a call deleted. The receipt and the money stay.

SET LOCAL lock_timeout = '5s';

ALTER TABLE generations
  -- Null: not deleted by anybody; past their retention time they are gone all the same.
  ADD COLUMN images_deleted_at timestamptz(3),
  -- Only what was delivered can be deleted. Validated by a later migration, without the lock.
  ADD CONSTRAINT generations_only_delivered_deleted CHECK (images_deleted_at IS NULL OR status = 'succeeded') NOT VALID;
