import { micros } from '../src/platform/common/money.js';
import { vacuum, withClient, withEngine } from './ledgers.js';
import { accountId, HOT_WALLET, SPREAD_WALLETS } from './wallets.js';

/** Commands that wait at the same time: as many as make the largest batches. */
const COMMANDS_AT_ONCE = 1_024;

/** Grows our own ledger to `rows` with real debits, through the engine, spread over all wallets. */
export async function fillLedger(url: string, rows: number): Promise<void> {
  await withEngine(url, async (engine, dataSource) => {
    const [counted] = await dataSource.query<{ count: number }[]>(
      'SELECT count(*)::int AS count FROM transfers',
    );
    const missing = rows - (counted?.count ?? 0);
    let sent = 0;
    const filler = async (): Promise<void> => {
      while (sent < missing) {
        const number = (sent += 1);
        await engine.execute({
          type: 'debit',
          keyId: null,
          accountId: accountId(1 + (number % SPREAD_WALLETS)),
          actor: 'benchmark',
          reference: `debit:fill-${number}`,
          fingerprint: '',
          memo: 'black-forest-labs/flux-2-klein-9b x1 @price_fill',
          amountMicros: micros(40_000n),
        });
      }
    };
    await Promise.all(Array.from({ length: COMMANDS_AT_ONCE }, filler));
  });
  await vacuum(url);
}

/** The same number of rows for plain SQL, whose hashes are its own. */
export async function fillPlainLedger(url: string, rows: number): Promise<void> {
  const perWallet = Math.ceil(rows / SPREAD_WALLETS);
  const hot = accountId(HOT_WALLET);
  await withClient(url, async (client) => {
    await client.query(
      `INSERT INTO transfers (account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id,
                              posted_after_micros, reference, leg, link_id, actor, memo, created_at, hash)
       SELECT w.account_id, w.seq + s, 'txn_' || substr(w.account_id, 6) || '_' || lpad((w.seq + s)::text, 12, '0'),
              'debit', 'customer_credit', 'usage_revenue', 40000, 'lot_' || substr(w.account_id, 6),
              w.posted_micros - s * 40000, 'debit:fill-' || s || '-' || w.account_id, 0,
              'lnk_00000000000000000000000000000000', 'benchmark', 'black-forest-labs/flux-2-klein-9b x1 @price_1',
              now(), sha256(convert_to(w.account_id || s, 'UTF8'))
         FROM generate_series(1, $1::int) s CROSS JOIN wallets w WHERE w.account_id <> $2`,
      [perWallet, hot],
    );
    await client.query(
      `UPDATE wallets SET seq = seq + $1::int, posted_micros = posted_micros - $1::int * 40000::bigint
        WHERE account_id <> $2`,
      [perWallet, hot],
    );
    await client.query(
      `UPDATE credit_lots SET remaining_micros = remaining_micros - $1::int * 40000::bigint WHERE account_id <> $2`,
      [perWallet, hot],
    );
  });
  await vacuum(url);
}

/** The same number of entries for the lean ledger, chained as its own debits chain them. */
export async function fillLeanLedger(url: string, rows: number): Promise<void> {
  const perAccount = Math.ceil(rows / SPREAD_WALLETS);
  await withClient(url, async (client) => {
    for (let entry = 1; entry <= perAccount; entry += 1) {
      await client.query(
        `WITH moved AS (
           UPDATE balances
              SET balance_micros = balance_micros - 40000, seq = seq + 1,
                  head_hash = sha256(head_hash || convert_to(
                    account_id || ' ' || seq + 1 || ' debit:fill-' || $1::text || ' -40000 ' || balance_micros - 40000, 'UTF8'))
            WHERE account_id <> $2
           RETURNING account_id, seq, balance_micros, head_hash)
         INSERT INTO entries (account_id, seq, reference, amount_micros, balance_after_micros, hash)
         SELECT account_id, seq, 'debit:fill-' || $1::text, -40000, balance_micros, head_hash FROM moved`,
        [entry, accountId(HOT_WALLET)],
      );
    }
  });
  await vacuum(url);
}
