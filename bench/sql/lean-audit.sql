-- Accounts of the lean ledger whose balance, sequence or hashes do not follow from their entries.
WITH chained AS (
  SELECT account_id, seq, hash, balance_after_micros,
         row_number() OVER chain AS position,
         sum(amount_micros) OVER chain AS derived_micros,
         sha256(coalesce(lag(hash) OVER chain, '') || convert_to(
           account_id || ' ' || seq || ' ' || reference || ' ' || amount_micros || ' ' || balance_after_micros, 'UTF8')) AS derived_hash
    FROM entries WINDOW chain AS (PARTITION BY account_id ORDER BY seq)
), heads AS (
  SELECT account_id, max(seq) AS seq, min(balance_after_micros) AS balance_micros,
         bool_and(seq = position AND balance_after_micros = derived_micros AND hash = derived_hash) AS is_whole
    FROM chained GROUP BY account_id
)
SELECT b.account_id
  FROM balances b LEFT JOIN heads h USING (account_id)
 WHERE (h.is_whole AND h.seq = b.seq AND h.balance_micros = b.balance_micros) IS NOT TRUE
