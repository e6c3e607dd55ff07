-- What a wallet watches for. The engine sees a mark crossed in the very tx that crosses it: nobody polls balances.
SET LOCAL lock_timeout = '5s';

ALTER TABLE wallets
  -- Available credit below this calls for an auto top-up; null: no auto top-up.
  ADD COLUMN top_up_mark_micros bigint,
  -- Posted credit below this is low; null: nobody wants to know.
  ADD COLUMN low_mark_micros bigint,
  -- What was told last; a level is told once until the balance has recovered from it.
  ADD COLUMN level text COLLATE "C" NOT NULL DEFAULT 'ample',
  ADD CONSTRAINT wallets_marks_positive CHECK (top_up_mark_micros > 0 AND low_mark_micros > 0),
  ADD CONSTRAINT wallets_level_known CHECK (level IN ('ample', 'low', 'depleted'));
