import { Inject, Injectable, Logger } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { DataSource, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { type BalanceTransaction, StripeBalanceList } from '../../payments/stripe/stripe-balance-list.js';
import {
  firstCustomerAt,
  readSince,
  type ListCursor,
  type WindowedList,
} from '../../payments/stripe/list-window.js';
import { isKnownType } from './platform-book.rules.js';
import { StripeBalanceCursorEntity } from './stripe-balance-cursor.entity.js';
import { StripeBalanceTransactionEntity } from './stripe-balance-transaction.entity.js';

/** One run reads at most 5,000 balance transactions. */
const PAGES_PER_RUN = 50;

const SAVE_CURSOR = `
  INSERT INTO stripe_balance_cursors (livemode, complete_until, window_until, after_id)
  VALUES ($1, $2, $3, $4)
  ON CONFLICT (livemode) DO UPDATE
    SET complete_until = excluded.complete_until, window_until = excluded.window_until, after_id = excluded.after_id`;

/** Stores every balance transaction that Stripe created. A run may fail or be killed at any point (see `readSince`). */
@Injectable()
export class BalanceReaderService {
  private readonly logger = new Logger(BalanceReaderService.name);

  constructor(
    private readonly dataSource: DataSource,
    @InjectRepository(StripeBalanceCursorEntity)
    private readonly cursors: Repository<StripeBalanceCursorEntity>,
    @InjectRepository(StripeBalanceTransactionEntity)
    private readonly rows: Repository<StripeBalanceTransactionEntity>,
    private readonly list: StripeBalanceList,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Stores the balance transactions up to now that are not stored yet, and returns how many there were. Throws
   * `PaymentsUnavailableError`, and what the database throws; what was read before that is stored.
   */
  async read(): Promise<number> {
    const { livemode, configured } = this.list;
    const beginning = configured ? await firstCustomerAt(this.dataSource, livemode) : null;
    if (beginning === null) return 0;
    const cursor = await this.cursors.findOneBy({ livemode });
    const list: WindowedList<BalanceTransaction> = {
      name: 'balance transactions',
      pagesMax: PAGES_PER_RUN,
      page: (request) => this.list.page(request),
      store: (transactions) => this.store(transactions),
      save: (progress) => this.save(progress),
      logger: this.logger,
    };
    const from = cursor ?? { completeUntil: beginning, windowUntil: null, afterId: null };
    return readSince(list, from, new Date(this.clock.nowMs()));
  }

  /** Returns how many were new. */
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
      this.logger.error(
        { event: 'balance_transaction.type_unknown', balanceTransaction: id, type },
        'A balance transaction has a type that this service cannot book; an operator has to check it',
      );
    }
    return added.length;
  }

  private async save({ completeUntil, windowUntil, afterId }: ListCursor): Promise<void> {
    const times = [completeUntil.toISOString(), windowUntil?.toISOString() ?? null];
    await this.dataSource.query(SAVE_CURSOR, [this.list.livemode, ...times, afterId]);
  }
}
