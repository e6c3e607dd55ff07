import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, LessThan, Repository, type FindOptionsWhere } from 'typeorm';
import { actorName, type AuditActor } from '../../identity/audit-log/audit-event.js';
import { AuditLog } from '../../identity/audit-log/audit-log.service.js';
import type { Clock } from '../../platform/common/clock.js';
import { isId, newId } from '../../platform/common/ids.js';
import type { UsdCents } from '../../platform/common/money.js';
import type { Page, PageRequest } from '../../platform/common/pagination.js';
import { findPage } from '../../platform/database/find-page.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { TopUpEntity } from '../top-ups/top-up.entity.js';
import type { TopUp } from '../top-ups/top-up.js';
import { TopUpRepository } from '../top-ups/top-up.repository.js';
import {
  PaymentReviewDecisionEntity,
  type PaymentDecision,
  PaymentReviewEntity,
  type PaymentReview,
} from './payment-review.entity.js';
import { findReviewSourceStatuses, type PaymentReviewStatus } from './payment-review.machine.js';

/** What Stripe reports about a payment that cannot be credited. */
export type ReviewedPayment = {
  /** Stripe's id of the Checkout Session, or of the PaymentIntent of a saved card. */
  readonly payment: string;
  readonly paymentIntentId: string | null;
  readonly paid: boolean;
  readonly amountCents: UsdCents | null;
  readonly currency: string | null;
};

export type Decision = {
  readonly decision: PaymentDecision;
  readonly by: AuditActor;
  readonly reason: string;
};

type ReviewFacts = Partial<Pick<PaymentReview, 'stripeRefundId' | 'failureCode'>>;

/** Stripe's latest report replaces earlier ones until an operator decides. Money that arrives after a dismissal opens the review again. */
const STORE_REVIEW = `
  INSERT INTO payment_reviews AS r (account_id, id, top_up_id, status, payment, payment_intent_id, paid, amount_cents,
                                    currency, contradictions, created_at, checked_at)
  VALUES ($1, $2, $3, 'open', $4, $5, $6, $7, $8, $9, $10, $10)
  ON CONFLICT ON CONSTRAINT payment_reviews_payment_key DO UPDATE
     SET payment_intent_id = excluded.payment_intent_id, paid = excluded.paid, amount_cents = excluded.amount_cents,
         currency = excluded.currency, contradictions = excluded.contradictions, checked_at = excluded.checked_at,
         status = 'open'
   WHERE r.status = 'open' OR (r.status = 'dismissed' AND NOT r.paid AND excluded.paid)
  RETURNING id`;

/** The rows of `payment_reviews`. A review is always locked before its top-up. */
@Injectable()
export class PaymentReviewRepository {
  constructor(
    @InjectRepository(PaymentReviewEntity) private readonly rows: Repository<PaymentReviewEntity>,
    @InjectRepository(PaymentReviewDecisionEntity)
    private readonly decisions: Repository<PaymentReviewDecisionEntity>,
    private readonly topUps: TopUpRepository,
    private readonly transactions: TransactionRunner,
    private readonly audit: AuditLog,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** Opens a review of the payment and of its top-up. Returns false when an operator has decided already. */
  async open(topUp: TopUp, payment: ReviewedPayment, contradictions: readonly string[]): Promise<boolean> {
    return this.transactions.run(async (tx) => {
      const stored = await tx.query<{ id: string }[]>(STORE_REVIEW, [
        topUp.accountId,
        newId('paymentReview'),
        topUp.id,
        payment.payment,
        payment.paymentIntentId,
        payment.paid,
        payment.amountCents?.toString() ?? null,
        payment.currency,
        contradictions.join('; '),
        this.now().toISOString(),
      ]);
      if (stored.length === 0) return false;
      // A top-up that another payment has paid stays paid.
      await this.topUps.move(topUp, 'needs_review', { failureCode: 'payment_mismatch' }, tx);
      return true;
    });
  }

  /**
   * Called before this payment credits a top-up that was under review. After `released` no operator can refund it any more, and
   * other payments of the same top-up stay under review. Otherwise nothing may be credited, and `refused` says why.
   */
  async release(
    { accountId, id: topUpId }: TopUp,
    payment: string,
  ): Promise<'released' | { refused: string }> {
    return this.transactions.run(async (tx) => {
      const lock = { mode: 'for_no_key_update' } as const;
      const reviews = await tx.find(PaymentReviewEntity, { where: { accountId, topUpId }, lock });
      if (reviews.some(({ status }) => status !== 'open' && status !== 'credited'))
        return { refused: 'an operator has decided about another payment of it' };
      const own = reviews.find((review) => review.payment === payment);
      if (own !== undefined && own.status === 'open' && own.disputeId !== null)
        return { refused: `a bank has taken it (${own.disputeId})` };
      await tx.update(
        PaymentReviewEntity,
        { accountId, topUpId, payment, status: 'open' },
        { status: 'credited', checkedAt: this.now() },
      );
      return 'released';
    });
  }

  /**
   * Stores an operator's decision, with who decided, when and why, and rejects the top-up. Returns null, and writes nothing,
   * when the review's status does not allow this decision.
   */
  async decide(
    review: PaymentReview,
    to: 'returning' | 'dismissed',
    { decision, by, reason }: Decision,
  ): Promise<PaymentReview | null> {
    const { accountId, id } = review;
    return this.transactions.run(async (tx) => {
      const lock = { mode: 'for_no_key_update' } as const;
      const current = await tx.findOneOrFail(PaymentReviewEntity, { where: { accountId, id }, lock });
      if (!findReviewSourceStatuses(to).includes(current.status)) return null;
      const number = 1 + (await tx.countBy(PaymentReviewDecisionEntity, { accountId, reviewId: id }));
      const decidedAt = this.now();
      await tx.insert(PaymentReviewDecisionEntity, {
        ...{ accountId, reviewId: id, number, decision, reason, decidedAt },
        actor: actorName(by),
      });
      const facts = {
        status: to,
        returns: current.returns + (to === 'returning' ? 1 : 0),
        failureCode: null,
        stripeRefundId: null,
        checkedAt: decidedAt,
      };
      await tx.update(PaymentReviewEntity, { accountId, id }, facts);
      await this.rejectTopUp(tx, current);
      await this.audit.record(tx, by, {
        act: to === 'returning' ? 'payment_review.returned' : 'payment_review.dismissed',
        object: id,
        account: accountId,
        before: { status: current.status },
        after: { status: to },
        reason,
      });
      return { ...current, ...facts };
    }, by);
  }

  /** Stores a refund that was created in Stripe's dashboard. Returns false when the review's status does not allow that. */
  async adoptReturn({ accountId, id }: PaymentReview, stripeRefundId: string): Promise<boolean> {
    return this.transactions.run(async (tx) => {
      const { affected } = await tx.update(
        PaymentReviewEntity,
        { accountId, id, status: In([...findReviewSourceStatuses('returned')]) },
        { status: 'returned', stripeRefundId, failureCode: null, checkedAt: this.now() },
      );
      if (affected !== 1) return false;
      await this.rejectTopUp(tx, await tx.findOneByOrFail(PaymentReviewEntity, { accountId, id }));
      return true;
    });
  }

  /** Changes the status. Returns false, and writes nothing, when the present status does not allow that. */
  async move(
    { accountId, id }: PaymentReview,
    to: PaymentReviewStatus,
    facts: ReviewFacts = {},
  ): Promise<boolean> {
    const { affected } = await this.rows.update(
      { accountId, id, status: In([...findReviewSourceStatuses(to)]) },
      { ...facts, status: to, checkedAt: this.now() },
    );
    return affected === 1;
  }

  /**
   * Stores that a bank took the payment by a dispute, or gave it back. An operator who had decided has to decide again, once for
   * each, because they did not know of it. Returns false when it is stored already. Throws when the payment was credited in the
   * meantime: the dispute is one of credit then, and the retry of this event handles it as such.
   */
  async noteDispute({ accountId, id }: PaymentReview, disputeId: string, isTaken: boolean): Promise<boolean> {
    return this.transactions.run(async (tx) => {
      const lock = { mode: 'for_no_key_update' } as const;
      const current = await tx.findOneOrFail(PaymentReviewEntity, { where: { accountId, id }, lock });
      if (current.status === 'credited') throw new Error(`${id} was credited while ${disputeId} was read`);
      if ((current.disputeId === disputeId) === isTaken) return false;
      const isDecided = current.status === 'returned' || current.status === 'dismissed';
      const failed = { status: 'failed', failureCode: isTaken ? 'disputed' : 'dispute_reinstated' } as const;
      await tx.update(
        PaymentReviewEntity,
        { accountId, id },
        { ...(isDecided ? failed : {}), disputeId: isTaken ? disputeId : null, checkedAt: this.now() },
      );
      return true;
    });
  }

  /** Stores that the review was checked, and facts that do not change its status. */
  async note({ accountId, id, status }: PaymentReview, facts: ReviewFacts = {}): Promise<void> {
    await this.rows.update({ accountId, id, status }, { ...facts, checkedAt: this.now() });
  }

  async find(id: string): Promise<PaymentReview | null> {
    return isId('paymentReview', id) ? this.rows.findOneBy({ id }) : null;
  }

  findByPaymentIntent(paymentIntentId: string): Promise<PaymentReview | null> {
    return this.rows.findOneBy({ paymentIntentId });
  }

  page(status: PaymentReviewStatus | null, page: PageRequest): Promise<Page<PaymentReview>> {
    const where: FindOptionsWhere<PaymentReviewEntity> = status === null ? {} : { status };
    return findPage(this.rows, 'paymentReview', where, page);
  }

  /** Finds the decisions about these reviews, sorted by review and with the oldest first. */
  async findDecisions(reviews: readonly PaymentReview[]): Promise<readonly PaymentReviewDecisionEntity[]> {
    if (reviews.length === 0) return [];
    return this.decisions.find({
      where: { reviewId: In(reviews.map(({ id }) => id)) },
      order: { reviewId: 'ASC', number: 'ASC' },
    });
  }

  /** Reviews with a refund on its way that were not checked since `before`, the longest unchecked first. */
  findUnchecked(before: Date, limit: number): Promise<readonly PaymentReview[]> {
    return this.rows.find({
      where: { status: 'returning', checkedAt: LessThan(before) },
      order: { checkedAt: 'ASC' },
      take: limit,
    });
  }

  /** Rejects the top-up, unless another payment has paid it. */
  private async rejectTopUp(tx: Tx, { accountId, topUpId: id }: PaymentReview): Promise<void> {
    const topUp = await tx.findOneByOrFail(TopUpEntity, { accountId, id });
    await this.topUps.move(topUp, 'rejected', { failureCode: 'payment_rejected' }, tx);
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
