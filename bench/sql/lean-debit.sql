-- A debit of the lean ledger (lean-ledger.sql): one transaction, one statement a table.
\set n random(:first, :last)
\set r random(1, 9000000000000000000)
BEGIN;
UPDATE balances
   SET balance_micros = balance_micros - 40000, seq = seq + 1,
       head_hash = sha256(head_hash || convert_to(
         account_id || ' ' || seq + 1 || ' debit:' || :r::text || ' -40000 ' || balance_micros - 40000, 'UTF8'))
 WHERE account_id = 'acct_' || lpad(:n::text, 26, '0') AND balance_micros >= 40000
RETURNING account_id AS account, seq, balance_micros AS balance, head_hash AS hash \gset
INSERT INTO entries (account_id, seq, reference, amount_micros, balance_after_micros, memo, hash)
VALUES (:account, :seq, 'debit:' || :r::text, -40000, :balance, 'black-forest-labs/flux-2-klein-9b x1', :hash::bytea);
COMMIT;
