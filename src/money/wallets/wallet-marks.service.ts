import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { micros, type MicroUsd } from '../../platform/common/money.js';
import { readRows } from '../../platform/database/data-source.js';
import type { Tx } from '../../platform/database/transaction-runner.js';

type Mark = 'top_up_mark_micros' | 'low_mark_micros';

const setMark = (mark: Mark) => `
  INSERT INTO wallets (account_id, ${mark}) VALUES ($1, $2)
  ON CONFLICT (account_id) DO UPDATE SET ${mark} = excluded.${mark}`;

/**
 * Sets what a wallet watches for; null ends the watch. A mark takes effect with the next command of the wallet:
 * whoever sets one above the present balance acts on that balance itself.
 */
@Injectable()
export class WalletMarks {
  constructor(private readonly dataSource: DataSource) {}

  /** Available credit below this queues the job `auto_top_up`. */
  setTopUpMark(tx: Tx | null, accountId: string, mark: MicroUsd | null): Promise<void> {
    return this.set(tx, 'top_up_mark_micros', accountId, mark);
  }

  /** Null: none is set. */
  async lowMarkOf(accountId: string): Promise<MicroUsd | null> {
    const [row] = await readRows<{ mark: string | null }>(
      this.dataSource,
      'SELECT low_mark_micros AS mark FROM wallets WHERE account_id = $1',
      [accountId],
    );
    return row?.mark == null ? null : micros(BigInt(row.mark));
  }

  /** Posted credit below this is low. */
  setLowMark(tx: Tx | null, accountId: string, mark: MicroUsd | null): Promise<void> {
    return this.set(tx, 'low_mark_micros', accountId, mark);
  }

  private async set(tx: Tx | null, mark: Mark, accountId: string, value: MicroUsd | null): Promise<void> {
    await (tx ?? this.dataSource).query(setMark(mark), [accountId, value?.toString() ?? null]);
  }
}
