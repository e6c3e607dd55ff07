import pg from 'pg';
import { DataSource } from 'typeorm';
import { micros } from '../src/common/money.js';
import { applicationDataSourceOptions } from '../src/database/data-source.js';
import { migrate } from '../src/database/migrate.js';
import { migrateJobs } from '../src/jobs/migrate-jobs.js';
import { silentObserver } from '../src/wallets/engine-observer.js';
import { WalletStore } from '../src/wallets/store/wallet-store.js';
import { WalletEngine } from '../src/wallets/wallet-engine.js';

export const SPREAD_WALLETS = 10_000;
/** The one wallet that everybody debits stands behind the others. */
export const HOT_WALLET = SPREAD_WALLETS + 1;
/** Credit for 25 million images: no benchmark runs a wallet dry unless it means to. */
const CREDIT_MICROS = 1_000_000_000_000n;

export const accountId = (number: number): string => `acct_${number.toString().padStart(26, '0')}`;

/** A database of its own on the measured server, migrated, with funded wallets on a ledger that verifies. */
export async function createLedger(serverUrl: string, name: string): Promise<string> {
  const admin = new pg.Client({ connectionString: serverUrl });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${name}`);
  await admin.end();
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  await migrate(url.href);
  await migrateJobs(url.href);
  await withEngine(url.href, async (engine, dataSource) => {
    await dataSource.query(
      `INSERT INTO accounts (id, name, created_at)
       SELECT 'acct_' || lpad(n::text, 26, '0'), 'Benchmark ' || n, now() FROM generate_series(1, $1::int) n`,
      [HOT_WALLET],
    );
    for (let number = 1; number <= HOT_WALLET; number += 1_000) {
      const group = Array.from(
        { length: Math.min(1_000, HOT_WALLET - number + 1) },
        (_, index) => number + index,
      );
      await Promise.all(group.map((member) => engine.execute(creditOf(accountId(member)))));
    }
  });
  await vacuum(url.href);
  return url.href;
}

/** Goodwill: paid credit that no payment stands behind, which is what the doctor would look for. */
export function creditOf(account: string, amountMicros = micros(CREDIT_MICROS)) {
  return {
    type: 'adjust',
    accountId: account,
    actor: 'benchmark',
    reference: 'adjustment:benchmark',
    fingerprint: '',
    memo: 'Benchmark',
    lotId: `lot_${account.slice(5)}`,
    amountMicros,
  } as const;
}

/** Grows the ledger to `rows` with real debits, through the engine, spread over all wallets. */
export async function fillLedger(url: string, rows: number): Promise<void> {
  await withEngine(url, async (engine, dataSource) => {
    const missing = rows - (await countTransfers(dataSource));
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
    await Promise.all(Array.from({ length: 1_024 }, filler));
  });
  await vacuum(url);
}

/** The same number of rows for the plain SQL side, whose rows need not verify. */
export async function fillPlainLedger(url: string, rows: number): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const perWallet = Math.ceil(rows / SPREAD_WALLETS);
  await client.query(
    `INSERT INTO transfers (account_id, seq, id, kind, debit_account, credit_account, amount_micros, lot_id,
                            posted_after_micros, reference, leg, link_id, actor, memo, created_at, hash)
     SELECT w.account_id, w.seq + s, 'txn_' || substr(w.account_id, 6) || '_' || lpad((w.seq + s)::text, 12, '0'),
            'debit', 'customer_credit', 'usage_revenue', 40000, 'lot_' || substr(w.account_id, 6),
            w.posted_micros - s * 40000, 'debit:fill-' || s || '-' || w.account_id, 0,
            'lnk_00000000000000000000000000000000', 'benchmark', 'black-forest-labs/flux-2-klein-9b x1 @price_1',
            now(), sha256(convert_to(w.account_id || s, 'UTF8'))
       FROM generate_series(1, $1::int) s CROSS JOIN wallets w WHERE w.account_id <> $2`,
    [perWallet, accountId(HOT_WALLET)],
  );
  await client.query('UPDATE wallets SET seq = seq + $1::int WHERE account_id <> $2', [
    perWallet,
    accountId(HOT_WALLET),
  ]);
  await client.end();
  await vacuum(url);
}

export async function countTransfers(dataSource: DataSource): Promise<number> {
  const rows = await dataSource.query<{ count: number }[]>('SELECT count(*)::int AS count FROM transfers');
  return rows[0]?.count ?? 0;
}

async function vacuum(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query('VACUUM ANALYZE');
  await client.query('CHECKPOINT');
  await client.end();
}

async function withEngine(
  url: string,
  work: (engine: WalletEngine, dataSource: DataSource) => Promise<void>,
): Promise<void> {
  const dataSource = await new DataSource(applicationDataSourceOptions(url, 4)).initialize();
  try {
    await work(
      new WalletEngine(new WalletStore(dataSource, { nowMs: () => Date.now() }), silentObserver),
      dataSource,
    );
  } finally {
    await dataSource.destroy();
  }
}
