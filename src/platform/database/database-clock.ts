import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Tx } from './transaction-runner.js';

/** The database's time in whole Unix milliseconds, as the column `now_ms`; read by `DatabaseClock`. */
export const NOW_MS = `floor(date_part('epoch', clock_timestamp()) * 1000)::bigint AS now_ms`;

export type NowRow = { readonly now_ms: string };

/**
 * The one clock of the ledger. The clocks of the processes differ, and none of them is more right than the others; the
 * database is the one that they share. It decides days, expiry and order.
 */
@Injectable()
export class DatabaseClock {
  constructor(private readonly dataSource: DataSource) {}

  /** Reads the time in a row of a statement that selected `NOW_MS`. Tests advance the time here. */
  read({ now_ms }: NowRow): number {
    return Number(now_ms);
  }

  /** @param source the transaction that asks, if there is one: it must not wait for a second connection. */
  async nowMs(source: Pick<Tx, 'query'> = this.dataSource): Promise<number> {
    const [row] = await source.query<[NowRow]>(`SELECT ${NOW_MS}`);
    return this.read(row);
  }
}
