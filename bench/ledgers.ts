import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { DataSource } from 'typeorm';
import { micros } from '../src/platform/common/money.js';
import { applicationDataSourceOptions } from '../src/platform/database/data-source.js';
import { DatabaseClock } from '../src/platform/database/ledger-clock.js';
import { startEmbeddedPostgres } from '../src/bootstrap/embedded-postgres/embedded-postgres.js';
import { findDiscrepancies } from '../src/finance/audit/examine-books.js';
import { migrateDatabase } from '../src/bootstrap/migrate-database.js';
import { silentObserver, WalletEngine } from '../src/money/wallets/wallet-engine.js';
import { WalletStore } from '../src/money/wallets/store/wallet-store.js';
import { databaseServerIn } from '../test/support/process/service-process.js';
import type { CleanUp } from './clean-up.js';
import { here } from './tools.js';
import { accountId, HOT_WALLET } from './wallets.js';

/** Credit for 25 million images: no benchmark empties a wallet unless it means to. */
const CREDIT_MICROS = 1_000_000_000_000n;
/** 256 clients of plain SQL, and what prepares and audits. */
const CONNECTIONS_MAX = '300';
/** Auditing some million rows on a slow machine. */
const STATEMENT_MS_MAX = 10 * 60_000;

/** A database server of one side alone, so that everything it does is that side's. */
export type Cluster = {
  /** As the owner of its databases. */
  readonly url: string;
  /** As the service logs in, which owns nothing. */
  readonly serviceUrl: string;
  readonly pid: number;
};
/** A database on it. */
export type Ledger = Cluster;

/** With durable commits, as the service starts it outside production. */
export async function startCluster(parent: string, name: string, cleanUp: CleanUp): Promise<Cluster> {
  const dataDir = join(parent, name);
  // Where this process is root, the server runs as another user and has to reach its own directory.
  await mkdir(dataDir, { mode: 0o711 });
  const settings = { max_connections: CONNECTIONS_MAX };
  const starting = startEmbeddedPostgres({ dataDir, settings, log: () => undefined });
  // One that did not start has nothing to stop.
  cleanUp.add(() =>
    starting.then(
      (server) => server.stop(),
      () => undefined,
    ),
  );
  const { ownerUrl, url } = await starting;
  return { url: ownerUrl, serviceUrl: url, pid: await databaseServerIn(dataDir) };
}

/** Migrated, with so many funded wallets on a ledger that verifies. */
export async function createLedger(cluster: Cluster, name: string, wallets = HOT_WALLET): Promise<Ledger> {
  const { url, serviceUrl } = await createDatabase(cluster, name);
  await migrateDatabase(url, serviceUrl);
  await withEngine(url, async (engine, dataSource) => {
    await dataSource.query(
      `INSERT INTO accounts (id, name, created_at)
       SELECT 'acct_' || lpad(n::text, 26, '0'), 'Benchmark ' || n, now() FROM generate_series(1, $1::int) n`,
      [wallets],
    );
    for (let number = 1; number <= wallets; number += 1_000) {
      const length = Math.min(1_000, wallets - number + 1);
      const group = Array.from({ length }, (_, index) => number + index);
      await Promise.all(group.map((member) => engine.execute(creditOf(accountId(member)))));
    }
  });
  await vacuum(url);
  return { url, serviceUrl, pid: cluster.pid };
}

/** For plain SQL on the same tables: it is no engine whose version the database would check, and does not pay for that. */
export async function createPlainLedger(cluster: Cluster): Promise<Ledger> {
  const ledger = await createLedger(cluster, 'bench_plain');
  await withClient(ledger.url, (client) =>
    client.query(`
      DROP TRIGGER wallets_engine_version ON wallets;
      DROP TRIGGER holds_engine_version ON holds;
      DROP TRIGGER transfers_engine_version ON transfers`),
  );
  return ledger;
}

/** What a user would write instead: `sql/lean-ledger.sql`, with as many funded accounts. */
export async function createLeanLedger(cluster: Cluster): Promise<Ledger> {
  const { url, serviceUrl } = await createDatabase(cluster, 'bench_lean');
  await withClient(url, async (client) => {
    await client.query(await readFile(here('sql/lean-ledger.sql'), 'utf8'));
    await client.query(
      `INSERT INTO accounts (id, name)
       SELECT 'acct_' || lpad(n::text, 26, '0'), 'Benchmark ' || n FROM generate_series(1, $1::int) n`,
      [HOT_WALLET],
    );
    await client.query(
      `INSERT INTO entries (account_id, seq, reference, amount_micros, balance_after_micros, hash)
       SELECT id, 1, 'funding', $1::bigint, $1::bigint,
              sha256(convert_to(id || ' 1 funding ' || $1::bigint || ' ' || $1::bigint, 'UTF8')) FROM accounts`,
      [CREDIT_MICROS.toString()],
    );
    await client.query(
      'INSERT INTO balances SELECT account_id, balance_after_micros, seq, hash FROM entries',
    );
  });
  await vacuum(url);
  return { url, serviceUrl, pid: cluster.pid };
}

/** Goodwill: paid credit without a payment, which the doctor would look for. */
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

/** Throws unless every row of our own ledger agrees with every other. */
export async function examine(url: string): Promise<void> {
  const extra = { statement_timeout: STATEMENT_MS_MAX };
  const dataSource = await new DataSource({ type: 'postgres', url, extra }).initialize();
  try {
    const found = await findDiscrepancies(dataSource);
    if (found.length > 0) throw new Error(`the books are not clean: ${JSON.stringify(found.slice(0, 5))}`);
  } finally {
    await dataSource.destroy();
  }
}

/** Throws unless the other side has kept books that agree as well: speed by losing money would be no comparison. */
export async function audit(url: string, script: 'lean-audit' | 'plain-audit'): Promise<void> {
  await withClient(url, async (client) => {
    const { rows } = await client.query(await readFile(here(`sql/${script}.sql`), 'utf8'));
    if (rows.length > 0) throw new Error(`${script}: ${rows.length} accounts do not agree`);
  });
}

export async function withEngine(
  url: string,
  work: (engine: WalletEngine, dataSource: DataSource) => Promise<void>,
): Promise<void> {
  const dataSource = await new DataSource(applicationDataSourceOptions(url, 4)).initialize();
  try {
    const store = new WalletStore(dataSource, new DatabaseClock(dataSource));
    await work(new WalletEngine(store, silentObserver, { lanes: 1, overlapFrom: 128 }), dataSource);
  } finally {
    await dataSource.destroy();
  }
}

export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 10_000,
    query_timeout: STATEMENT_MS_MAX,
  });
  // The server may be stopped before this connection by a failure; its message is the one that counts.
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function createDatabase(
  { url, serviceUrl }: Cluster,
  name: string,
): Promise<Pick<Ledger, 'url' | 'serviceUrl'>> {
  await withClient(url, (client) => client.query(`CREATE DATABASE ${name}`));
  return { url: new URL(name, url).href, serviceUrl: new URL(name, serviceUrl).href };
}

/** So that no autovacuum of what was prepared runs while something is measured. */
export async function vacuum(url: string): Promise<void> {
  await withClient(url, async (client) => {
    await client.query('VACUUM ANALYZE');
    await client.query('CHECKPOINT');
  });
}
