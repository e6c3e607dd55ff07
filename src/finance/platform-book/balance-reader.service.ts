import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import { CLOCK, type Clock } from '../../common/clock.js';
import type { BalanceTransaction } from '../../payments/balance/balance-transaction.js';
import { BalanceCursorLostError, StripeBalanceList } from '../../payments/balance/stripe-balance-list.js';
import { isKnownType } from './bookings.js';
import { StripeBalanceCursorEntity } from './stripe-balance-cursor.entity.js';
import { StripeBalanceTransactionEntity } from './stripe-balance-transaction.entity.js';

/** Stripe's clock is not ours, and its list may lag behind its webhooks: the last stretch is listed again. */
const OVERLAP_MS = 10 * 60_000;
/** What one run asks for at most, 5,000 balance transactions; the next run goes on where it ended. */
const PAGES_PER_RUN = 50;

/** Nothing of ours can have moved at Stripe before our first customer was there. */
const FIRST_CUSTOMER = 'SELECT min(created_at) AS at FROM stripe_customers WHERE livemode = $1';

const SAVE_CURSOR = `
  INSERT INTO stripe_balance_cursors (livemode, complete_until, window_until, after_id)
  VALUES ($1, $2, $3, $4)
  ON CONFLICT (livemode) DO UPDATE
    SET complete_until = excluded.complete_until, window_until = excluded.window_until, after_id = excluded.after_id`;

/** One stretch of time that is being listed, newest first. */
type Window = { readonly completeUntil: Date; readonly until: Date; readonly afterId: string | null };

/**
 * Stores every balance transaction that Stripe made. A stretch of time counts as complete only when its last page is
 * stored, so a run may fail or be killed anywhere: the next one lists again what was not finished.
 */
@Injectable()
export class BalanceReader {
  private readonly logger = new Logger(BalanceReader.name);

  constructor(
    private readonly dataSource: DataSource,
    @InjectRepository(StripeBalanceCursorEntity)
    private readonly cursors: Repository<StripeBalanceCursorEntity>,
    @InjectRepository(StripeBalanceTransactionEntity)
    private readonly rows: Repository<StripeBalanceTransactionEntity>,
    private readonly list: StripeBalanceList,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Stores what Stripe made up to now and is not stored yet, and answers how many that were. Throws
   * `PaymentsUnavailableError`, and what the database throws; what was read until then is stored.
   */
  async read(): Promise<number> {
    const beginning = this.list.configured ? await this.firstCustomerAt() : null;
    if (beginning === null) return 0;
    const cursor = await this.cursors.findOneBy({ livemode: this.list.livemode });
    const until = cursor?.windowUntil ?? new Date(this.clock.nowMs());
    const known = cursor?.completeUntil ?? beginning;
    // A clock that was ahead and went back must not leave the time between out.
    const completeUntil = known < until ? known : until;
    const window = { completeUntil, until, afterId: cursor?.afterId ?? null };
    try {
      return await this.readWindow(window);
    } catch (error) {
      if (!(error instanceof BalanceCursorLostError)) throw error;
      this.logger.warn(`${error.message}; the list begins again.`);
      return this.readWindow({ ...window, afterId: null });
    }
  }

  private async readWindow({ completeUntil, until, afterId }: Window): Promise<number> {
    const fromMs = completeUntil.getTime() - OVERLAP_MS;
    let stored = 0;
    let after = afterId;
    for (let pages = 0; pages < PAGES_PER_RUN; pages += 1) {
      const page = await this.list.page({ fromMs, untilMs: until.getTime(), afterId: after });
      stored += await this.store(page.transactions);
      after = page.nextAfterId;
      await (after === null ? this.save(until, null, null) : this.save(completeUntil, until, after));
      if (after === null) return stored;
    }
    this.logger.warn('There are more balance transactions than one run lists; the next run goes on.');
    return stored;
  }

  /** Answers how many were new. */
  private async store(transactions: readonly BalanceTransaction[]): Promise<number> {
    if (transactions.length === 0) return 0;
    const storedAt = new Date(this.clock.nowMs());
    const { livemode } = this.list;
    const values = transactions.map((transaction) => ({ ...transaction, livemode, storedAt }));
    const result = await this.rows
      .createQueryBuilder()
      .insert()
      .values(values)
      .orIgnore()
      .returning(['id', 'type'])
      .execute();
    const added = result.raw as readonly { id: string; type: string }[];
    for (const { id, type } of added) {
      if (isKnownType(type)) continue;
      this.logger.error(`${id} is a ${type}, which nobody here can book. A person has to look.`);
    }
    return added.length;
  }

  private async save(completeUntil: Date, windowUntil: Date | null, afterId: string | null): Promise<void> {
    const times = [completeUntil.toISOString(), windowUntil?.toISOString() ?? null];
    await this.dataSource.query(SAVE_CURSOR, [this.list.livemode, ...times, afterId]);
  }

  private async firstCustomerAt(): Promise<Date | null> {
    const [row] = await this.dataSource.query<{ at: Date | null }[]>(FIRST_CUSTOMER, [this.list.livemode]);
    return row?.at ?? null;
  }
}
