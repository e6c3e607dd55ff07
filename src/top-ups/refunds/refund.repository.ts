import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, LessThan, Repository } from 'typeorm';
import { CLOCK, type Clock } from '../../common/clock.js';
import { isId } from '../../common/ids.js';
import { isUniqueViolation } from '../../database/constraints.js';
import { TransactionRunner } from '../../database/transaction-runner.js';
import type { TopUp } from '../top-up.js';
import { countReturned, lockTopUp } from './counted-returns.js';
import { RefundEntity } from './refund.entity.js';
import type { Parts } from './refund-parts.js';
import { sourcesOf, type RefundStatus } from './refund.machine.js';
import type { Refund } from './refund.js';

export type RefundFacts = Partial<Pick<Refund, 'stripeRefundId' | 'failureCode'>>;

/** The rows of `refunds`. Every change of status goes by the machine's table, whoever else writes meanwhile. */
@Injectable()
export class RefundRepository {
  constructor(
    @InjectRepository(RefundEntity) private readonly rows: Repository<RefundEntity>,
    private readonly transactions: TransactionRunner,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  /**
   * Writes the refund that `make` derives from what went back before. The top-up's row is locked meanwhile, so two at once
   * are one after the other. Null when `make` answers null; `'taken'` when the idempotency key or Stripe's
   * refund has a row already.
   */
  async insert(topUp: TopUp, make: (returned: Parts) => Refund | null): Promise<Refund | 'taken' | null> {
    try {
      return await this.transactions.run(async (tx) => {
        await lockTopUp(tx, topUp);
        const refund = make(await countReturned(tx, topUp));
        if (refund !== null) await tx.insert(RefundEntity, { ...refund });
        return refund;
      });
    } catch (error) {
      if (isUniqueViolation(error, 'refunds_idempotency_key_key')) return 'taken';
      if (isUniqueViolation(error, 'refunds_stripe_refund_id_idx')) return 'taken';
      throw error;
    }
  }

  /** What of the payment went back so far. */
  returnedOf(topUp: TopUp): Promise<Parts> {
    return countReturned(this.rows.manager, topUp);
  }

  find(accountId: string, id: string): Promise<Refund | null> {
    return this.rows.findOneBy({ accountId, id });
  }

  /** For news from Stripe, which name no account. */
  async findAnywhere(id: string): Promise<Refund | null> {
    return isId('refund', id) ? this.rows.findOneBy({ id }) : null;
  }

  findByStripeId(stripeRefundId: string): Promise<Refund | null> {
    return this.rows.findOneBy({ stripeRefundId });
  }

  findByKey(accountId: string, idempotencyKey: string): Promise<Refund | null> {
    return this.rows.findOneBy({ accountId, idempotencyKey });
  }

  /** Oldest first. */
  ofTopUp({ accountId, id }: TopUp): Promise<readonly Refund[]> {
    return this.rows.find({ where: { accountId, topUpId: id }, order: { id: 'ASC' } });
  }

  /** Open ones that nobody looked at since `before`, the longest forgotten first. */
  findUnchecked(before: Date, limit: number): Promise<readonly Refund[]> {
    return this.rows.find({
      where: { status: In(['created', 'pending']), checkedAt: LessThan(before) },
      order: { checkedAt: 'ASC' },
      take: limit,
    });
  }

  /** False, and nothing is written, when the refund has gone too far for this step. */
  async move({ accountId, id }: Refund, to: RefundStatus, facts: RefundFacts = {}): Promise<boolean> {
    const { affected } = await this.rows.update(
      { accountId, id, status: In([...sourcesOf(to)]) },
      { ...facts, status: to, checkedAt: this.now() },
    );
    return affected === 1;
  }

  /** Notes that the refund was looked at. */
  async note({ accountId, id, status }: Refund): Promise<void> {
    await this.rows.update({ accountId, id, status }, { checkedAt: this.now() });
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
