-- The plainest hold and capture that keep the same rows: two transactions, as the image is made between them.
-- It leaves out what bench/sql/plain-debit.sql leaves out.
\set n random(:first, :last)
\set r random(1, 9000000000000000000)
BEGIN;
UPDATE wallets
   SET held_micros = held_micros + 40000
 WHERE account_id = 'acct_' || lpad(:n::text, 26, '0') AND status = 'active' AND posted_micros - held_micros >= 40000
RETURNING account_id AS account \gset
INSERT INTO holds (account_id, id, reference, fingerprint, amount_micros, status, memo, created_at, expires_at)
VALUES (:account, 'hold_' || lpad(:r::text, 26, '0'), 'hold:' || lpad(:r::text, 26, '0'), '', 40000, 'authorized',
        'black-forest-labs/flux-2-klein-9b x1 @price_1', now(), now() + interval '15 minutes');
COMMIT;
BEGIN;
UPDATE wallets
   SET posted_micros = posted_micros - 40000, held_micros = held_micros - 40000, seq = seq + 1, head_at = now(),
       head_hash = sha256(head_hash || convert_to(account_id || seq::text, 'UTF8'))
 WHERE account_id = :account
RETURNING seq, posted_micros AS posted, head_hash AS hash \gset
UPDATE holds SET status = 'captured', captured_micros = 40000, resolved_at = now()
 WHERE account_id = :account AND id = 'hold_' || lpad(:r::text, 26, '0') AND status = 'authorized'
RETURNING id AS hold \gset
UPDATE credit_lots SET remaining_micros = remaining_micros - 40000
 WHERE account_id = :account
   AND id = (SELECT id FROM credit_lots WHERE account_id = :account AND live
              ORDER BY kind DESC, priority, expires_at NULLS LAST, created_at LIMIT 1)
RETURNING id AS lot \gset
INSERT INTO transfers (account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id,
                       posted_after_micros, reference, leg, link_id, actor, memo, created_at, hash)
VALUES (:account, :seq, 'txn_' || lpad(:n::text, 26, '0') || '_' || lpad(:seq::text, 12, '0'),
        'capture', 'customer_credit', 'usage_revenue', 40000, :lot, :posted, 'capture:' || :hold, 0,
        'lnk_00000000000000000000000000000000', 'operator', 'black-forest-labs/flux-2-klein-9b x1 @price_1',
        now(), :hash::bytea);
COMMIT;
