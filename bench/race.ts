import { DataSource } from 'typeorm';
import { newId } from '../src/common/ids.js';
import type { MicroUsd } from '../src/common/money.js';
import { applicationDataSourceOptions } from '../src/database/data-source.js';
import { silentObserver } from '../src/wallets/engine-observer.js';
import { WalletStore } from '../src/wallets/store/wallet-store.js';
import { WalletEngine } from '../src/wallets/wallet-engine.js';
import { creditOf } from './database.js';

type Books = { readonly captures: number; readonly posted: string; readonly held: string };

/** An account with exactly this much credit, and a look at its books afterwards. */
export async function makeRacingAccount(
  url: string,
  creditMicros: MicroUsd,
): Promise<{ readonly id: string; books(): Promise<Books> }> {
  const id = newId('account');
  const dataSource = await new DataSource(applicationDataSourceOptions(url, 4)).initialize();
  await dataSource.query(`INSERT INTO accounts (id, name, created_at) VALUES ($1, 'Race', now())`, [id]);
  const engine = new WalletEngine(new WalletStore(dataSource, { nowMs: () => Date.now() }), silentObserver);
  await engine.execute(creditOf(id, creditMicros));
  return {
    id,
    async books() {
      const rows = await dataSource.query<Books[]>(
        `SELECT posted_micros AS posted, held_micros AS held,
                (SELECT count(*)::int FROM transfers t WHERE t.account_id = w.account_id AND kind = 'capture') AS captures
           FROM wallets w WHERE account_id = $1`,
        [id],
      );
      await dataSource.destroy();
      return rows[0] ?? { captures: 0, posted: '', held: '' };
    },
  };
}
