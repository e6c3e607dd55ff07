-- Wallets that plain SQL has debited, whose balance, sequence, lots or holds do not follow from their transfers. Its
-- hashes are its own, so the doctor's proof of the chain does not apply to them.
WITH derived AS (
  SELECT account_id, count(*) AS rows, max(seq) AS seq,
         sum(CASE WHEN credit_account = 'customer_credit' THEN amount_micros ELSE -amount_micros END) AS posted_micros
    FROM transfers WHERE account_id <> 'acct_platform' GROUP BY account_id
), lots AS (
  SELECT account_id, sum(remaining_micros) AS remaining_micros FROM credit_lots GROUP BY account_id
), open_holds AS (
  SELECT account_id, sum(amount_micros) AS held_micros FROM holds WHERE status = 'authorized' GROUP BY account_id
)
SELECT w.account_id
  FROM wallets w
  LEFT JOIN derived d USING (account_id) LEFT JOIN lots l USING (account_id) LEFT JOIN open_holds h USING (account_id)
 WHERE w.account_id <> 'acct_platform'
   AND (d.rows = d.seq AND d.seq = w.seq AND d.posted_micros = w.posted_micros
        AND l.remaining_micros = w.posted_micros AND coalesce(h.held_micros, 0) = w.held_micros) IS NOT TRUE
