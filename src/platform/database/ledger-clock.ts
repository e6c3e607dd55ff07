import { Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { DataSource } from 'typeorm';
import type { Clock, MonotonicClock } from '../common/clock.js';
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

/** Two monotonic clocks drift apart by less than a millisecond in this time. */
const READ_AGAIN_AFTER_MS = 5_000;
/** The database reads its clock at some moment between question and answer; a slower answer leaves that moment too uncertain. */
const ROUND_TRIP_MS_MAX = 500;
/** A process that starts while the database is slow uses the fastest of this many readings. */
const FIRST_READINGS = 5;

/**
 * A process whose wall clock differs by more is not ready and runs no jobs. That clock decides nothing, but the machine
 * has a fault, and its certificates and logs have wrong times.
 */
export const CLOCK_DIFFERENCE_MS_MAX = 2_000;

/** A `Clock` that gives the database's time. */
export const LEDGER_CLOCK = Symbol('LEDGER_CLOCK');

/**
 * Gives the database's time without a query: its last reading, plus what the monotonic clock of this process counted since. So the
 * wall clock of this process decides nothing, and no call waits for a round trip. The time is exact to half a round trip. While
 * the database does not answer, the time continues from the last reading.
 */
@Injectable()
export class LedgerClock implements Clock, OnModuleDestroy {
  private readonly logger = new Logger(LedgerClock.name);
  private readonly timer: NodeJS.Timeout;

  private constructor(
    private readonly database: DatabaseClock,
    private readonly clock: MonotonicClock,
    /** The database's time at the zero of the monotonic clock. */
    private originMs: number,
  ) {
    this.timer = setInterval(() => void this.readAgain(), READ_AGAIN_AFTER_MS).unref();
  }

  /** Reads the database's clock for the first time. Rejects with the database's error. */
  static async start(database: DatabaseClock, clock: MonotonicClock): Promise<LedgerClock> {
    let best = await readOrigin(database, clock);
    for (let count = 1; count < FIRST_READINGS && best.roundTripMs > ROUND_TRIP_MS_MAX; count += 1) {
      const next = await readOrigin(database, clock);
      if (next.roundTripMs < best.roundTripMs) best = next;
    }
    return new LedgerClock(database, clock, best.originMs);
  }

  nowMs(): number {
    return Math.floor(this.originMs + this.clock.monotonicMs());
  }

  onModuleDestroy(): void {
    clearInterval(this.timer);
  }

  private async readAgain(): Promise<void> {
    try {
      const { originMs, roundTripMs } = await readOrigin(this.database, this.clock);
      if (roundTripMs <= ROUND_TRIP_MS_MAX) this.originMs = originMs;
    } catch (error) {
      this.logger.debug(
        { event: 'ledger_clock.read_failed', err: error },
        "The database's clock could not be read",
      );
    }
  }
}

async function readOrigin(
  database: DatabaseClock,
  clock: MonotonicClock,
): Promise<{ originMs: number; roundTripMs: number }> {
  const askedAtMs = clock.monotonicMs();
  const databaseMs = await database.nowMs();
  const roundTripMs = clock.monotonicMs() - askedAtMs;
  return { originMs: databaseMs - askedAtMs - roundTripMs / 2, roundTripMs };
}
