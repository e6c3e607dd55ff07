import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, IsNull, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { PLATFORM_ACCOUNT_ID } from '../../platform/common/ids.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { WalletEngine } from '../../money/wallets/wallet-engine.js';
import { toLegs } from './platform-book.rules.js';
import { StripeBalanceTransactionEntity } from './stripe-balance-transaction.entity.js';

/** The size of one batch of the engine, which commits a batch together. */
const BATCH_SIZE = 200;
/** The most that one run books. The next run books the rest. */
const BATCHES_PER_RUN = 50;

/** Books what Stripe kept and what was paid out to the bank. Each balance transaction is booked once, under its own id. */
@Injectable()
export class PlatformBookService {
  constructor(
    @InjectRepository(StripeBalanceTransactionEntity)
    private readonly rows: Repository<StripeBalanceTransactionEntity>,
    private readonly engine: WalletEngine,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Books every stored balance transaction that is not booked yet. It is safe to repeat and to run concurrently. Throws what
   * the engine and the database throw; what was booked before that stays booked.
   */
  async bookAll(): Promise<void> {
    for (let batches = 0; batches < BATCHES_PER_RUN; batches += 1) {
      const unbooked = await this.rows.find({
        where: { bookedAt: IsNull() },
        order: { createdAt: 'ASC', id: 'ASC' },
        take: BATCH_SIZE,
      });
      if (unbooked.length === 0) return;
      await this.bookBatch(unbooked);
    }
  }

  /** The ledger is written before the rows. After a crash between the two, the next run finds the references in the ledger. */
  private async bookBatch(unbooked: readonly StripeBalanceTransactionEntity[]): Promise<void> {
    const results = await Promise.allSettled(unbooked.map((transaction) => this.book(transaction)));
    const booked = unbooked.filter((_transaction, index) => results[index]?.status === 'fulfilled');
    const ids = In(booked.map(({ id }) => id));
    await this.rows.update({ id: ids, bookedAt: IsNull() }, { bookedAt: new Date(this.clock.nowMs()) });
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  private async book(transaction: StripeBalanceTransactionEntity): Promise<void> {
    const { id, type, sourceId, amountCents, feeCents } = transaction;
    const legs = toLegs(transaction);
    if (legs.length === 0) return;
    await this.engine.execute({
      type: 'book',
      accountId: PLATFORM_ACCOUNT_ID,
      actor: 'stripe',
      reference: `balance_transaction:${id}`,
      fingerprint: `${type}:${amountCents}:${feeCents}`,
      memo: sourceId === null ? `Stripe ${type}` : `Stripe ${type} ${sourceId}`,
      legs,
    });
  }
}
