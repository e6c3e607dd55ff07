import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, IsNull, LessThan, Repository } from 'typeorm';
import type { AuditActor } from '../../identity/audit-log/audit-event.js';
import { AuditLog } from '../../identity/audit-log/audit-log.service.js';
import type { Clock } from '../../platform/common/clock.js';
import { isId } from '../../platform/common/ids.js';
import { formatMicros } from '../../platform/common/money.js';
import { isUniqueViolation } from '../../platform/database/constraints.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { WebhookEventsService } from '../../notifications/webhooks/webhook-events.service.js';
import type { TopUp } from '../top-ups/top-up.js';
import { DisputeMovementRepository } from '../disputes/dispute-movement.repository.js';
import { countReturned, lockTopUp, nextDecisionAt } from './returned-money.js';
import { toRefundView } from './refund.dto.js';
import { RefundEntity } from './refund.entity.js';
import type { Parts } from '../../money/wallets/rules/payment-parts.js';
import {
  OPEN_STATUSES,
  findRefundSourceStatuses,
  type PublishedStatus,
  type RefundStatus,
} from './refund.machine.js';
import type { Refund } from './refund.js';

/**
 * What follows after the credit has left the wallet. `submit`: Stripe was never asked; `submit_again`: it may have been; `interrupted`: it
 * never will be, because other money of the account moved.
 */
export type SubmissionStep = 'submit' | 'submit_again' | 'interrupted' | 'refused' | 'decided_elsewhere';

export type RefundFacts = Partial<Pick<Refund, 'stripeRefundId' | 'failureCode'>>;

/**
 * The rows of `refunds`. Every update checks the present status against the machine's table, so concurrent writers cannot break it. Each
 * status is published once, in the tx that writes it.
 */
@Injectable()
export class RefundRepository {
  constructor(
    @InjectRepository(RefundEntity) private readonly rows: Repository<RefundEntity>,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly events: WebhookEventsService,
    private readonly audit: AuditLog,
    private readonly disputeMovements: DisputeMovementRepository,
  ) {}

  /**
   * Inserts the refund that `make` derives from what was returned before. The top-up's row is locked, so that concurrent refunds
   * wait for each other. Returns null when `make` does, and `'taken'` when the idempotency key or Stripe's refund has a row
   * already.
   *
   * @param make receives what was returned of the payment, and whether one of its refunds was requested here and not accepted by Stripe yet.
   * @param by who requested it here; null when it was created at Stripe.
   */
  async insert(
    topUp: TopUp,
    make: (returned: Parts, isOneUndecided: boolean) => Refund | null,
    by: AuditActor | null = null,
  ): Promise<Refund | 'taken' | null> {
    try {
      return await this.transactions.run(async (tx) => {
        await lockTopUp(tx, topUp);
        const { accountId, id: topUpId } = topUp;
        const undecided = { accountId, topUpId, status: 'created' as const, stripeRefundId: IsNull() };
        const made = make(await countReturned(tx, topUp), await tx.existsBy(RefundEntity, undecided));
        if (made === null) return null;
        const refund = by === null ? made : { ...made, decisionsBefore: await this.countBooked(tx, made) };
        await tx.insert(RefundEntity, { ...refund });
        await this.publish(tx, refund, 'created');
        if (by !== null) await this.recordRequest(tx, by, refund);
        return refund;
      }, by ?? 'system');
    } catch (error) {
      if (isUniqueViolation(error, 'refunds_idempotency_key_key')) return 'taken';
      if (isUniqueViolation(error, 'refunds_stripe_refund_id_idx')) return 'taken';
      throw error;
    }
  }

  /** Counts what of the payment was returned so far. */
  countReturned(topUp: TopUp): Promise<Parts> {
    return countReturned(this.rows.manager, topUp);
  }

  async find(accountId: string, id: string): Promise<Refund | null> {
    const isPossible = isId('refund', id) && isId('account', accountId);
    return isPossible ? this.rows.findOneBy({ accountId, id }) : null;
  }

  /** Finds a refund for an event of Stripe, which names no account. */
  async findAnywhere(id: string): Promise<Refund | null> {
    return isId('refund', id) ? this.rows.findOneBy({ id }) : null;
  }

  findByStripeId(stripeRefundId: string): Promise<Refund | null> {
    return this.rows.findOneBy({ stripeRefundId });
  }

  findByKey(accountId: string, idempotencyKey: string): Promise<Refund | null> {
    return this.rows.findOneBy({ accountId, idempotencyKey });
  }

  /** Finds the refunds of a top-up, oldest first. */
  findByTopUp({ accountId, id }: TopUp): Promise<readonly Refund[]> {
    return this.rows.find({ where: { accountId, topUpId: id }, order: { id: 'ASC' } });
  }

  /** Open refunds that were not checked since `before`, the longest unchecked first. */
  findUnchecked(before: Date, limit: number): Promise<readonly Refund[]> {
    return this.rows.find({
      where: { status: In([...OPEN_STATUSES]), checkedAt: LessThan(before) },
      order: { checkedAt: 'ASC' },
      take: limit,
    });
  }

  /** Changes the status. Returns false, and writes nothing, when the present status does not allow that. */
  move(refund: Refund, to: PublishedStatus, facts: RefundFacts = {}): Promise<boolean> {
    const { accountId, id } = refund;
    return this.transactions.run(async (tx) => {
      const { affected } = await tx.update(
        RefundEntity,
        { accountId, id, status: In([...findRefundSourceStatuses(to)]) },
        { ...facts, status: to, checkedAt: this.now() },
      );
      if (affected !== 1) return false;
      await this.publish(tx, { ...refund, ...facts }, to);
      return true;
    });
  }

  /**
   * Decides, once for all processes, what follows after the credit of the refund has left the wallet. Stripe is asked unless anything was
   * decided of the account's disputes and failing refunds since the refund was requested, or was not booked by then; the refund fails
   * then, and Stripe is never asked.
   */
  async decideSubmission(topUp: TopUp, { accountId, id }: Refund): Promise<SubmissionStep> {
    return this.transactions.run(async (tx) => {
      await lockTopUp(tx, topUp);
      const refund = await this.lock(tx, { accountId, id });
      if (refund.status === 'refused') return 'refused';
      if (refund.status !== 'created') return 'decided_elsewhere';
      if (refund.submittedAt !== null) return 'submit_again';
      const { decisionsBefore } = refund;
      const { all } = await this.disputeMovements.countDecisions(accountId, tx);
      if (decisionsBefore !== null && all !== decisionsBefore) {
        await this.writeFailure(tx, topUp, refund, { failureCode: 'wallet_changed' });
        return 'interrupted';
      }
      await tx.update(RefundEntity, { accountId, id }, { submittedAt: this.now(), checkedAt: this.now() });
      // An earlier release does not say whether it has asked Stripe.
      return decisionsBefore === null ? 'submit_again' : 'submit';
    });
  }

  /**
   * Decides that the refund fails. Only what Stripe reports of a refund that it has accepted (`stripeRefundId`) can fail one that another
   * process has seen accepted. Returns whether the refund fails or has failed.
   */
  decideFailure(topUp: TopUp, { accountId, id }: Refund, facts: RefundFacts): Promise<boolean> {
    return this.transactions.run(async (tx) => {
      await lockTopUp(tx, topUp);
      const refund = await this.lock(tx, { accountId, id });
      if (refund.status === 'failing' || refund.status === 'failed') return true;
      const isReported = facts.stripeRefundId !== undefined;
      const sources: readonly RefundStatus[] = isReported ? findRefundSourceStatuses('failing') : ['created'];
      if (!sources.includes(refund.status)) return false;
      await this.writeFailure(tx, topUp, refund, facts);
      return true;
    });
  }

  /**
   * Writes that the refund fails, and in the same commit which excess of the payment's disputes is covered by it. Without the cover, a
   * dispute that is won before the booking would give back its loss alone. From then on only `FailedRefundBookingService` moves the row.
   */
  private async writeFailure(
    tx: Tx,
    topUp: TopUp,
    { accountId, id }: Refund,
    facts: RefundFacts,
  ): Promise<void> {
    const failureDecidedAt = await nextDecisionAt(tx, topUp, this.clock.nowMs());
    const failing = { ...facts, status: 'failing', failureDecidedAt, checkedAt: this.now() } as const;
    await tx.update(RefundEntity, { accountId, id }, failing);
    await this.disputeMovements.decideCovers(tx, topUp);
  }

  /**
   * Refuses a refund whose credit the wallet does not have, and decides what disputes took beyond the payment only because of it. Returns
   * whether the refund is refused: it is not when another process has taken the credit since, or has moved the refund on. The row is
   * locked before the ledger is read: a process that takes the credit later reads the row after that, and finds it refused.
   */
  refuse(topUp: TopUp, { accountId, id }: Refund, failureCode: string): Promise<boolean> {
    return this.transactions.run(async (tx) => {
      await lockTopUp(tx, topUp);
      const refund = await this.lock(tx, { accountId, id });
      if (refund.status === 'refused') return true;
      const [taken] = await tx.query<unknown[]>(
        'SELECT 1 FROM transfers WHERE account_id = $1 AND reference = $2 LIMIT 1',
        [accountId, `refund:${id}`],
      );
      if (refund.status !== 'created' || taken !== undefined) return false;
      const facts = { failureCode, status: 'refused', checkedAt: this.now() } as const;
      await tx.update(RefundEntity, { accountId, id }, facts);
      await this.publish(tx, { ...refund, failureCode }, 'refused');
      await this.disputeMovements.decideCovers(tx, topUp);
      return true;
    });
  }

  /**
   * Finds refunds that were refused since `after` although the wallet has given their credit: a process was paused while another one
   * refused the refund, took the credit, and ended before it gave it back.
   */
  async findRefusedWithCredit(after: Date, limit: number): Promise<readonly Refund[]> {
    return this.rows
      .createQueryBuilder('r')
      .where(`r.status = 'refused' AND r.checked_at > :after`, { after })
      .andWhere(
        `EXISTS (SELECT FROM transfers t WHERE t.account_id = r.account_id AND t.reference = 'refund:' || r.id)`,
      )
      .andWhere(
        `NOT EXISTS (SELECT FROM transfers t WHERE t.account_id = r.account_id AND t.reference = 'refund:' || r.id || ':failed')`,
      )
      .limit(limit)
      .getMany();
  }

  private lock(tx: Tx, { accountId, id }: Pick<Refund, 'accountId' | 'id'>): Promise<Refund> {
    const lock = { mode: 'pessimistic_write' } as const;
    return tx.findOneOrFail(RefundEntity, { where: { accountId, id }, lock });
  }

  private async countBooked(tx: Tx, { accountId }: Refund): Promise<number> {
    const { all, open } = await this.disputeMovements.countDecisions(accountId, tx);
    return all - open;
  }

  /** Stores that the refund was checked. */
  async note({ accountId, id, status }: Refund): Promise<void> {
    await this.rows.update({ accountId, id, status }, { checkedAt: this.now() });
  }

  private recordRequest(tx: Tx, by: AuditActor, refund: Refund): Promise<void> {
    const { accountId, id, topUpId, creditMicros, feeMicros, reason } = refund;
    return this.audit.record(tx, by, {
      act: 'refund.requested',
      object: id,
      account: accountId,
      after: {
        top_up: topUpId,
        credit_micros: formatMicros(creditMicros),
        fee_micros: formatMicros(feeMicros),
      },
      reason,
    });
  }

  private publish(tx: Tx, refund: Refund, status: PublishedStatus): Promise<void> {
    const { accountId, id } = refund;
    const data = { ...toRefundView({ ...refund, status }) };
    return this.events.publish(tx, { accountId, type: `refund.${status}`, data, naturalKey: id });
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
