import { Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Tx } from './transaction-runner.js';

/** The database's time in whole Unix milliseconds, as the column `now_ms`; read by `DatabaseClock`. */
export const NOW_MS = `floor(date_part('epoch', clock_timestamp()) * 1000)::bigint AS now_ms`;

export type NowRow = { readonly now_ms: string };

/**
 * The one clock of the ledger. Each process has its own idea of the time, and nobody can say which of them is right; what they
 * share is the database. It decides days, expiry and order.
 */
@Injectable()
export class DatabaseClock {
  constructor(private readonly dataSource: DataSource) {}

  /** The time in a row of a statement that asked for `NOW_MS`. Tests let time pass here. */
  read({ now_ms }: NowRow): number {
    return Number(now_ms);
  }

  /** @param source the transaction that asks, if one does: it must not wait for a second connection. */
  async nowMs(source: Pick<Tx, 'query'> = this.dataSource): Promise<number> {
    const [row] = await source.query<[NowRow]>(`SELECT ${NOW_MS}`);
    return this.read(row);
  }
}
