import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { micros, type MicroUsd } from '../../platform/common/money.js';
import { readRows } from '../../platform/database/data-source.js';
import type { Tx } from '../../platform/database/transaction-runner.js';

type ThresholdColumn = 'top_up_mark_micros' | 'low_mark_micros';

const setThreshold = (column: ThresholdColumn) => `
  INSERT INTO wallets (account_id, ${column}) VALUES ($1, $2)
  ON CONFLICT (account_id) DO UPDATE SET ${column} = excluded.${column}`;

/**
 * The thresholds below which a wallet reports its balance; null removes one. A threshold takes effect with the next command of the
 * wallet, so a caller that sets one above the present balance has to act on that balance itself.
 */
@Injectable()
export class WalletThresholdsService {
  constructor(private readonly dataSource: DataSource) {}

  /** Available credit below this queues the job `auto_top_up`. */
  setTopUpThreshold(tx: Tx | null, accountId: string, threshold: MicroUsd | null): Promise<void> {
    return this.set(tx, 'top_up_mark_micros', accountId, threshold);
  }

  /** Returns null when none is set. */
  async getLowThreshold(accountId: string): Promise<MicroUsd | null> {
    const [row] = await readRows<{ threshold: string | null }>(
      this.dataSource,
      'SELECT low_mark_micros AS threshold FROM wallets WHERE account_id = $1',
      [accountId],
    );
    return row?.threshold == null ? null : micros(BigInt(row.threshold));
  }

  /** Posted credit below this is low. */
  setLowThreshold(tx: Tx | null, accountId: string, threshold: MicroUsd | null): Promise<void> {
    return this.set(tx, 'low_mark_micros', accountId, threshold);
  }

  private async set(
    tx: Tx | null,
    column: ThresholdColumn,
    accountId: string,
    value: MicroUsd | null,
  ): Promise<void> {
    await (tx ?? this.dataSource).query(setThreshold(column), [accountId, value?.toString() ?? null]);
  }
}
