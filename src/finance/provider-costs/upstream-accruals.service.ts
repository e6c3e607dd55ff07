import { Inject, Injectable } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { type Clock, DAY_MS, formatUtcDate } from '../../platform/common/clock.js';
import { PLATFORM_ACCOUNT_ID } from '../../platform/common/ids.js';
import { micros, type MicroUsd } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';

const HOUR_MS = 3_600_000;
/** How many past days are checked. An outage of up to a month is made up for, and the doctor reports what is older. */
export const LOOKED_BACK_DAYS = 31;
/** How many booked days are checked again, because a row may be committed after its day was summed. */
const LOOKED_AT_AGAIN_DAYS = 3;
/** A row is committed within seconds of its time, so a day is complete after this long. */
const SETTLED_AFTER_MS = 10 * 60_000;

/** Sums one hour, so that the statement stays short whatever the day's traffic. It uses the index by time. */
const COSTS = `
  SELECT provider, sum(upstream_cost_micros) AS cost FROM generation_tasks
   WHERE created_at >= $1 AND created_at < $2 AND upstream_cost_micros > 0 GROUP BY provider`;

/** What the ledger has already, from the index of references. `;` is the character after `:`. */
const BOOKED = `
  SELECT split_part(reference, ':', 3) AS provider, count(*) AS bookings, sum(amount_micros) AS booked
    FROM transfers WHERE account_id = $1 AND reference >= $2 AND reference < $3 GROUP BY 1`;

const NEWEST_BOOKED = `
  SELECT split_part(reference, ':', 2) AS day FROM transfers
   WHERE account_id = $1 AND reference >= 'upstream_cost:' AND reference < 'upstream_cost;' ORDER BY reference DESC LIMIT 1`;

type Booked = { readonly bookings: number; readonly amountMicros: bigint };

/**
 * Books what providers charge us in our own book: `upstream_cost -> upstream_payable`, one transfer for each UTC day and
 * provider. The day is the one in which the provider accepted the task and named its price. A task counts even if its image
 * failed, because no provider says that a failed one is free. BYOK calls have no cost for us.
 *
 * The booked amount is always the difference between the tasks' costs and the ledger. So a repeated run books nothing, and
 * costs that were stored late are booked as a second transfer of their day (`…:2`).
 */
@Injectable()
export class UpstreamAccrualsService {
  constructor(
    private readonly dataSource: DataSource,
    private readonly engine: WalletEngine,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Books every day that is over. It is safe to repeat and to run concurrently. Throws what the engine and the database
   * throw, also when two runs disagree on a day because one counted more. The next run books the rest.
   */
  async bookDaysThatEnded(): Promise<void> {
    const todayMs = Math.floor((this.clock.nowMs() - SETTLED_AFTER_MS) / DAY_MS) * DAY_MS;
    for (let dayMs = await this.firstDayToLookAt(todayMs); dayMs < todayMs; dayMs += DAY_MS) {
      await this.bookDay(dayMs);
    }
  }

  private async firstDayToLookAt(todayMs: number): Promise<number> {
    const [newest] = await this.dataSource.query<{ day: string }[]>(NEWEST_BOOKED, [PLATFORM_ACCOUNT_ID]);
    const furthestMs = todayMs - LOOKED_BACK_DAYS * DAY_MS;
    if (newest === undefined) return furthestMs;
    const againMs = Math.min(Date.parse(newest.day) + DAY_MS, todayMs) - LOOKED_AT_AGAIN_DAYS * DAY_MS;
    return Math.max(furthestMs, againMs);
  }

  private async bookDay(dayMs: number): Promise<void> {
    const day = formatUtcDate(new Date(dayMs));
    const costs = await this.sumCosts(dayMs);
    if (costs.size === 0) return;
    const booked = await this.bookedOn(day);
    for (const [provider, costMicros] of costs) {
      const { bookings, amountMicros } = booked.get(provider) ?? { bookings: 0, amountMicros: 0n };
      const missingMicros = costMicros - amountMicros;
      // Costs never decrease, so when more is booked than was charged, the doctor reports it to an operator.
      if (missingMicros > 0n) await this.book(day, provider, bookings + 1, micros(missingMicros));
    }
  }

  private async sumCosts(dayMs: number): Promise<ReadonlyMap<string, bigint>> {
    const costs = new Map<string, bigint>();
    for (let fromMs = dayMs; fromMs < dayMs + DAY_MS; fromMs += HOUR_MS) {
      const hour = [new Date(fromMs).toISOString(), new Date(fromMs + HOUR_MS).toISOString()];
      const rows = await this.dataSource.query<{ provider: string; cost: string }[]>(COSTS, hour);
      for (const { provider, cost } of rows) costs.set(provider, (costs.get(provider) ?? 0n) + BigInt(cost));
    }
    return costs;
  }

  private async bookedOn(day: string): Promise<ReadonlyMap<string, Booked>> {
    const rows = await this.dataSource.query<{ provider: string; bookings: string; booked: string }[]>(
      BOOKED,
      [PLATFORM_ACCOUNT_ID, `upstream_cost:${day}:`, `upstream_cost:${day};`],
    );
    return new Map(
      rows.map(({ provider, bookings, booked }) => [
        provider,
        { bookings: Number(bookings), amountMicros: BigInt(booked) },
      ]),
    );
  }

  private async book(day: string, provider: string, count: number, amountMicros: MicroUsd): Promise<void> {
    await this.engine.execute({
      type: 'book',
      accountId: PLATFORM_ACCOUNT_ID,
      actor: 'system',
      reference: `upstream_cost:${day}:${provider}${count === 1 ? '' : `:${count}`}`,
      // A run that counted another amount under the same reference is refused, and counts again later.
      fingerprint: amountMicros.toString(),
      memo: `Images of ${provider} on ${day}`,
      legs: [{ kind: 'upstream_cost', amountMicros }],
    });
  }
}
