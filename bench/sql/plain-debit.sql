-- The plainest debit that keeps the same rows: one transaction, one statement a table, rules in SQL.
-- It checks the balance, keeps the lot, the wallet, the ledger row with its unique reference, and a hash
-- that follows the previous one. What it leaves out: holds, expiry, several lots, replays, an HTTP answer.
\set n random(:first, :last)
BEGIN;
UPDATE wallets
   SET posted_micros = posted_micros - 40000, seq = seq + 1, head_at = now(),
       head_hash = sha256(head_hash || convert_to(account_id || seq::text, 'UTF8'))
 WHERE account_id = 'acct_' || lpad(:n::text, 26, '0') AND status = 'active' AND posted_micros - held_micros >= 40000
RETURNING seq, posted_micros AS posted, head_hash AS hash \gset
UPDATE credit_lots SET remaining_micros = remaining_micros - 40000
 WHERE account_id = 'acct_' || lpad(:n::text, 26, '0')
   AND id = (SELECT id FROM credit_lots WHERE account_id = 'acct_' || lpad(:n::text, 26, '0') AND live
              ORDER BY kind DESC, priority, expires_at NULLS LAST, created_at LIMIT 1)
RETURNING id AS lot \gset
INSERT INTO transfers (account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id,
                       posted_after_micros, reference, leg, link_id, actor, memo, created_at, hash)
VALUES ('acct_' || lpad(:n::text, 26, '0'), :seq, 'txn_' || lpad(:n::text, 26, '0') || '_' || lpad(:seq::text, 12, '0'),
        'debit', 'customer_credit', 'usage_revenue', 40000, :lot, :posted, 'debit:' || gen_random_uuid(), 0,
        'lnk_00000000000000000000000000000000', 'operator', 'black-forest-labs/flux-2-klein-9b x1 @price_1',
        now(), :hash::bytea);
COMMIT;
