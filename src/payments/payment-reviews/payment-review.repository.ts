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
import { PaymentReviewDecisionEntity, type PaymentDecision } from './payment-review-decision.entity.js';
import { PaymentReviewEntity, type PaymentReview } from './payment-review.entity.js';
import { reviewSourcesOf, type PaymentReviewStatus } from './payment-review.machine.js';

/** What Stripe tells of a payment that cannot be credited. */
export type ReviewedPayment = {
  /** Of the Checkout Session, or of the PaymentIntent of a saved card. */
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

/** Until a person decides, Stripe's latest word stands; money that comes after a dismissal opens the review again. */
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

/** The rows of `payment_reviews`. A review is locked before its top-up, never the other way round. */
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

  /** Keeps the payment for a person to look at, and its top-up with it. False when she has decided already. */
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
      // Not what is paid, by another payment: that stays as it is.
      await this.topUps.move(topUp, 'needs_review', { failureCode: 'payment_mismatch' }, tx);
      return true;
    });
  }

  /**
   * Before a top-up that was under review is credited after all, by this payment: from then on no operator can send it back. Another
   * payment of the same top-up goes on waiting. Otherwise nothing must be credited, and the answer says why.
   */
  async release(
    { accountId, id: topUpId }: TopUp,
    payment: string,
  ): Promise<'released' | { refused: string }> {
    return this.transactions.run(async (tx) => {
      const lock = { mode: 'for_no_key_update' } as const;
      const reviews = await tx.find(PaymentReviewEntity, { where: { accountId, topUpId }, lock });
      if (reviews.some(({ status }) => status !== 'open' && status !== 'credited'))
        return { refused: 'another payment of it was decided about' };
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
   * What an operator decides, with who, when and why, and the end of the top-up. Null, and nothing is written, when the
   * review is not (any more) where this can be decided.
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
      if (!reviewSourcesOf(to).includes(current.status)) return null;
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

  /** Somebody sent it back in Stripe's dashboard. False when it has gone too far for that. */
  async adoptReturn({ accountId, id }: PaymentReview, stripeRefundId: string): Promise<boolean> {
    return this.transactions.run(async (tx) => {
      const { affected } = await tx.update(
        PaymentReviewEntity,
        { accountId, id, status: In([...reviewSourcesOf('returned')]) },
        { status: 'returned', stripeRefundId, failureCode: null, checkedAt: this.now() },
      );
      if (affected !== 1) return false;
      await this.rejectTopUp(tx, await tx.findOneByOrFail(PaymentReviewEntity, { accountId, id }));
      return true;
    });
  }

  /** False, and nothing is written, when the review has gone too far for this step. */
  async move(
    { accountId, id }: PaymentReview,
    to: PaymentReviewStatus,
    facts: ReviewFacts = {},
  ): Promise<boolean> {
    const { affected } = await this.rows.update(
      { accountId, id, status: In([...reviewSourcesOf(to)]) },
      { ...facts, status: to, checkedAt: this.now() },
    );
    return affected === 1;
  }

  /**
   * A bank took the payment by a dispute, or gave it back. What a person had decided is decided again, because they did not know
   * of it; once for each. False when it is known. Throws when the payment was credited in the meantime: its dispute is one of credit
   * then, and whoever reads it again finds that.
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

  /** Notes that the review was looked at, and what was learned without its moving. */
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

  /** Oldest first, by review. */
  async decisionsOf(reviews: readonly PaymentReview[]): Promise<readonly PaymentReviewDecisionEntity[]> {
    if (reviews.length === 0) return [];
    return this.decisions.find({
      where: { reviewId: In(reviews.map(({ id }) => id)) },
      order: { reviewId: 'ASC', number: 'ASC' },
    });
  }

  /** On their way back, and nobody looked at them since `before`; the longest forgotten first. */
  findUnchecked(before: Date, limit: number): Promise<readonly PaymentReview[]> {
    return this.rows.find({
      where: { status: 'returning', checkedAt: LessThan(before) },
      order: { checkedAt: 'ASC' },
      take: limit,
    });
  }

  /** Not what is paid, by another payment. */
  private async rejectTopUp(tx: Tx, { accountId, topUpId: id }: PaymentReview): Promise<void> {
    const topUp = await tx.findOneByOrFail(TopUpEntity, { accountId, id });
    await this.topUps.move(topUp, 'rejected', { failureCode: 'payment_rejected' }, tx);
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
