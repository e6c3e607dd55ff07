import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, LessThan, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { isId } from '../../platform/common/ids.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { WebhookEvents } from '../../notifications/webhooks/webhook-events.service.js';
import { toTopUpView } from './top-up.dto.js';
import { TopUpEntity } from './top-up.entity.js';
import { OPEN_STATUSES, sourcesOf, type TopUpStatus } from './top-up.machine.js';
import type { TopUp } from './top-up.js';

/** What may be learned about a top-up after it was made. Its quote is fixed. */
export type TopUpFacts = Partial<
  Pick<
    TopUp,
    | 'customerId'
    | 'checkoutSessionId'
    | 'checkoutUrl'
    | 'paymentIntentId'
    | 'failureCode'
    | 'declineCode'
    | 'paidAt'
    | 'taxMicros'
    | 'invoiceUrl'
    | 'receiptUrl'
  >
>;

type PaymentNames = { readonly paymentIntentId: string | null; readonly topUpId: string | null };

/** The statuses that the account is told of, and how. The others are steps on the way. */
const TOLD = new Map<TopUpStatus, 'top_up.succeeded' | 'top_up.failed'>([
  ['paid', 'top_up.succeeded'],
  ['failed', 'top_up.failed'],
  ['rejected', 'top_up.failed'],
]);

/** The rows of `top_ups`. Every change of status goes by the machine's table, whoever else writes meanwhile. */
@Injectable()
export class TopUpRepository {
  constructor(
    @InjectRepository(TopUpEntity) private readonly rows: Repository<TopUpEntity>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly transactions: TransactionRunner,
    private readonly events: WebhookEvents,
  ) {}

  /** Throws a violation of `top_ups_idempotency_key_key` when the account used the idempotency key before. */
  async insert(topUp: TopUp, tx: Tx): Promise<void> {
    await tx.getRepository(TopUpEntity).insert({ ...topUp });
  }

  async find(accountId: string, id: string): Promise<TopUp | null> {
    const isPossible = isId('topUp', id) && isId('account', accountId);
    return isPossible ? this.rows.findOneBy({ accountId, id }) : null;
  }

  /** For news from Stripe, which name no account. */
  async findAnywhere(id: string): Promise<TopUp | null> {
    return isId('topUp', id) ? this.rows.findOneBy({ id }) : null;
  }

  /**
   * For news of a payment. They may come before the payment has settled here: then the top-up is found by the name
   * that stands on the payment itself. Throws while it is not settled, so that the news wait for it.
   */
  async findByPayment({ paymentIntentId, topUpId }: PaymentNames): Promise<TopUp | null> {
    const named = topUpId === null ? null : await this.findAnywhere(topUpId);
    const topUp = named ?? (paymentIntentId === null ? null : await this.rows.findOneBy({ paymentIntentId }));
    // Other systems may share the Stripe account; their payments are none of our business.
    if (topUp === null) return null;
    // What never brought credit has none to take back.
    if (topUp.status === 'rejected') return null;
    if (topUp.status !== 'paid') throw new Error(`the payment of ${topUp.id} has not settled yet`);
    // A second payment of the same top-up was never credited.
    return topUp.paymentIntentId === paymentIntentId ? topUp : null;
  }

  findByKey(accountId: string, idempotencyKey: string): Promise<TopUp | null> {
    return this.rows.findOneBy({ accountId, idempotencyKey });
  }

  page(accountId: string, page: PageRequest): Promise<Page<TopUp>> {
    return findPage(this.rows, 'topUp', { accountId }, page);
  }

  /** Open ones that nobody looked at since `before`, the longest forgotten first. */
  findUnchecked(before: Date, limit: number): Promise<readonly TopUp[]> {
    return this.rows.find({
      where: { status: In([...OPEN_STATUSES]), checkedAt: LessThan(before) },
      order: { checkedAt: 'ASC' },
      take: limit,
    });
  }

  /**
   * False, and nothing is written, when the top-up has gone too far for this step. The row moves and the account is
   * told in one tx, so it is told if, and only if, the row moved, whoever moved it.
   */
  async move(topUp: TopUp, to: TopUpStatus, facts: TopUpFacts = {}, tx: Tx | null = null): Promise<boolean> {
    if (tx === null) return this.transactions.run((own) => this.move(topUp, to, facts, own));
    const { accountId, id } = topUp;
    const { affected } = await tx.update(
      TopUpEntity,
      { accountId, id, status: In([...sourcesOf(to)]) },
      { ...facts, status: to, checkedAt: this.now() },
    );
    if (affected !== 1) return false;
    const type = TOLD.get(to);
    if (type !== undefined) {
      const data = { ...toTopUpView({ ...topUp, ...facts, status: to }) };
      await this.events.publish(tx, { accountId, type, data, naturalKey: id });
    }
    return true;
  }

  /** Notes that the top-up was looked at, and what was learned without its moving. */
  async note({ accountId, id, status }: TopUp, facts: TopUpFacts = {}): Promise<void> {
    await this.rows.update({ accountId, id, status }, { ...facts, checkedAt: this.now() });
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
