import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, LessThan, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { isId } from '../../platform/common/ids.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { WebhookEventsService } from '../../notifications/webhooks/webhook-events.service.js';
import { toTopUpView } from './top-up.dto.js';
import { TopUpEntity } from './top-up.entity.js';
import { OPEN_STATUSES, findSourceStatuses, type TopUpStatus } from './top-up.machine.js';
import type { TopUp } from './top-up.js';

/** The facts that are stored on a top-up after it was created. Its quote never changes. */
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

type PaymentIds = { readonly paymentIntentId: string | null; readonly topUpId: string | null };

/** The statuses that are published to the account, and the event of each. The others are intermediate steps. */
const PUBLISHED_AS = new Map<TopUpStatus, 'top_up.succeeded' | 'top_up.failed'>([
  ['paid', 'top_up.succeeded'],
  ['failed', 'top_up.failed'],
  ['rejected', 'top_up.failed'],
]);

/** The rows of `top_ups`. Every update checks the present status against the machine's table, so concurrent writers cannot break it. */
@Injectable()
export class TopUpRepository {
  constructor(
    @InjectRepository(TopUpEntity) private readonly rows: Repository<TopUpEntity>,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly transactions: TransactionRunner,
    private readonly events: WebhookEventsService,
  ) {}

  /** Throws a violation of `top_ups_idempotency_key_key` when the account used the idempotency key before. */
  async insert(topUp: TopUp, tx: Tx): Promise<void> {
    await tx.getRepository(TopUpEntity).insert({ ...topUp });
  }

  async find(accountId: string, id: string): Promise<TopUp | null> {
    const isPossible = isId('topUp', id) && isId('account', accountId);
    return isPossible ? this.rows.findOneBy({ accountId, id }) : null;
  }

  /** Finds a top-up for an event of Stripe, which names no account. */
  async findAnywhere(id: string): Promise<TopUp | null> {
    return isId('topUp', id) ? this.rows.findOneBy({ id }) : null;
  }

  /**
   * Finds the top-up for an event of its payment. The event may arrive before the payment has settled here; then the
   * top-up is found by the id in the payment's metadata. Throws until it has settled, so that the event is retried.
   */
  async findByPayment({ paymentIntentId, topUpId }: PaymentIds): Promise<TopUp | null> {
    const named = topUpId === null ? null : await this.findAnywhere(topUpId);
    const topUp = named ?? (paymentIntentId === null ? null : await this.rows.findOneBy({ paymentIntentId }));
    // Other systems may share the Stripe account. Their payments are ignored.
    if (topUp === null) return null;
    // A rejected payment was never credited, so there is no credit to reverse.
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

  /** Open top-ups that were not checked since `before`, the longest unchecked first. */
  findUnchecked(before: Date, limit: number): Promise<readonly TopUp[]> {
    return this.rows.find({
      where: { status: In([...OPEN_STATUSES]), checkedAt: LessThan(before) },
      order: { checkedAt: 'ASC' },
      take: limit,
    });
  }

  /**
   * Changes the status. Returns false, and writes nothing, when the present status does not allow that. The event is
   * published in the same tx, so the account is notified if, and only if, the status changed.
   */
  async move(topUp: TopUp, to: TopUpStatus, facts: TopUpFacts = {}, tx: Tx | null = null): Promise<boolean> {
    if (tx === null) return this.transactions.run((own) => this.move(topUp, to, facts, own));
    const { accountId, id } = topUp;
    const { affected } = await tx.update(
      TopUpEntity,
      { accountId, id, status: In([...findSourceStatuses(to)]) },
      { ...facts, status: to, checkedAt: this.now() },
    );
    if (affected !== 1) return false;
    const type = PUBLISHED_AS.get(to);
    if (type !== undefined) {
      const data = { ...toTopUpView({ ...topUp, ...facts, status: to }) };
      await this.events.publish(tx, { accountId, type, data, naturalKey: id });
    }
    return true;
  }

  /** Stores that the top-up was checked, and facts that do not change its status. */
  async note({ accountId, id, status }: TopUp, facts: TopUpFacts = {}): Promise<void> {
    await this.rows.update({ accountId, id, status }, { ...facts, checkedAt: this.now() });
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
