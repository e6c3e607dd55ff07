import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, Repository } from 'typeorm';
import type { Clock } from '../../common/clock.js';
import { isId, isStripeId, newId } from '../../common/ids.js';
import { centsToMicros, ZERO, type MicroUsd, type UsdCents } from '../../common/money.js';
import { LEDGER_CLOCK } from '../../database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../database/transaction-runner.js';
import { WebhookEvents } from '../../notifications/webhooks/webhook-events.service.js';
import type { WebhookEventType } from '../../notifications/webhooks/webhook-event-types.js';
import type { ProviderDispute } from '../../payments/payment-gateway.js';
import { partsOfTaken } from '../refunds/refund-parts.js';
import { countReturned, hasUndecidedRefund, lockTopUp } from '../refunds/counted-returns.js';
import { paidFor } from '../refunds/returned-parts.js';
import type { TopUp } from '../top-up.js';
import { toDisputeView } from './dispute.dto.js';
import { isLater, isOpen, UNSEEN } from './dispute.machine.js';
import { DisputeEntity, type Dispute } from './dispute.entity.js';

/** What of a payment a dispute takes. */
type DisputedParts = {
  readonly creditMicros: MicroUsd;
  readonly feeMicros: MicroUsd;
  readonly taxMicros: MicroUsd;
  readonly excessMicros: MicroUsd;
};

export type DisputeFacts = Partial<Pick<Dispute, 'frozenAt'>>;

/** Its money moved: when, and what is told. */
const MONEY_NEWS = {
  withdrawnAt: 'dispute.funds_withdrawn',
  reinstatedAt: 'dispute.funds_reinstated',
} as const satisfies Record<string, WebhookEventType>;

/** A refund of a payment that is disputed fails within minutes; none is waited for longer than this. */
const REFUND_WAIT_MS = 3_600_000;

/** The rows of `disputes`. What the account is told of one is published in the tx that writes it. */
@Injectable()
export class DisputeRepository {
  constructor(
    @InjectRepository(DisputeEntity) private readonly rows: Repository<DisputeEntity>,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly events: WebhookEvents,
  ) {}

  /** The row of Stripe's dispute, made when it is not there yet. */
  async ensure(topUp: TopUp, told: ProviderDispute, amountCents: UsdCents): Promise<Dispute> {
    const { accountId } = topUp;
    const now = new Date(this.clock.nowMs());
    const row = {
      accountId,
      id: told.id,
      topUpId: topUp.id,
      status: UNSEEN,
      reason: told.reason,
      amountCents,
      reinstatementLotId: newId('creditLot'),
      createdAt: now,
      checkedAt: now,
    };
    await this.transactions.run(async (tx) => {
      const insert = tx.createQueryBuilder().insert().into(DisputeEntity).values(row).orIgnore();
      const result = await insert.returning('id').execute();
      if ((result.raw as readonly unknown[]).length === 0) return;
      const made = await tx.findOneByOrFail(DisputeEntity, { accountId, id: told.id });
      await this.tell(tx, 'dispute.created', { ...made, status: told.status }, told.id);
    });
    return this.rows.findOneByOrFail({ accountId, id: told.id });
  }

  async find(accountId: string, id: string): Promise<Dispute | null> {
    const isPossible = isStripeId(id) && isId('account', accountId);
    return isPossible ? this.rows.findOneBy({ accountId, id }) : null;
  }

  /** Newest first. */
  ofAccount(accountId: string): Promise<readonly Dispute[]> {
    return this.rows.find({ where: { accountId }, order: { createdAt: 'DESC', id: 'DESC' } });
  }

  /**
   * Fixes what of the payment the dispute takes, next to everything else that went back; what it takes beyond is excess.
   * Null while something of it may still come back, a refund that fails for the dispute's sake: for an hour, because what
   * Stripe has taken must not stay out of the books.
   */
  async fixParts(topUp: TopUp, dispute: Dispute): Promise<DisputedParts | null> {
    const { accountId, id } = dispute;
    return this.transactions.run(async (tx) => {
      await lockTopUp(tx, topUp);
      // Another event of the same dispute may have come first, a moment ago.
      const { creditMicros, feeMicros, taxMicros, excessMicros } = await tx.findOneByOrFail(DisputeEntity, {
        accountId,
        id,
      });
      if (creditMicros !== null && feeMicros !== null)
        return { creditMicros, feeMicros, taxMicros: taxMicros ?? ZERO, excessMicros };
      const parts = partsOfTaken(dispute.amountCents, paidFor(topUp), await countReturned(tx, topUp));
      const mayWait = this.clock.nowMs() - dispute.createdAt.getTime() < REFUND_WAIT_MS;
      if (parts.excessCents > 0n && mayWait && (await hasUndecidedRefund(tx, topUp))) return null;
      const fixed = {
        creditMicros: centsToMicros(parts.creditCents),
        feeMicros: centsToMicros(parts.feeCents),
        taxMicros: centsToMicros(parts.taxCents),
        excessMicros: centsToMicros(parts.excessCents),
      };
      await tx.update(DisputeEntity, { accountId, id }, fixed);
      return fixed;
    });
  }

  /** What was learned. */
  async note({ accountId, id }: Dispute, facts: DisputeFacts = {}): Promise<void> {
    await this.rows.update({ accountId, id }, { ...facts, checkedAt: this.now() });
  }

  /** What the ledger has by now; it never changes again. */
  async noteWrittenOff({ accountId, id }: Dispute, writtenOffMicros: MicroUsd): Promise<void> {
    const unknown = { accountId, id, writtenOffMicros: IsNull() };
    await this.rows.update(unknown, { writtenOffMicros, checkedAt: this.now() });
  }

  /** Its money left the wallet, or came back. Told once. */
  noteMoney(
    { accountId, id }: Dispute,
    what: keyof typeof MONEY_NEWS,
    facts: DisputeFacts = {},
  ): Promise<void> {
    return this.transactions.run(async (tx) => {
      const now = this.now();
      const { affected } = await tx.update(
        DisputeEntity,
        { accountId, id, [what]: IsNull() },
        { ...facts, [what]: now, checkedAt: now },
      );
      if (affected !== 1) return;
      const dispute = await tx.findOneByOrFail(DisputeEntity, { accountId, id });
      await this.tell(tx, MONEY_NEWS[what], dispute, id);
    });
  }

  /** Stripe's status, unless the row knows a later one by now. Each step from one status to the next is told once. */
  noteStatus({ accountId, id }: Dispute, status: string): Promise<void> {
    return this.transactions.run(async (tx) => {
      const lock = { mode: 'for_no_key_update' } as const;
      const before = await tx.findOneOrFail(DisputeEntity, { where: { accountId, id }, lock });
      // A lost appeal is lost again, so a status may come after itself; but not without one in between.
      const isNews = before.status !== status && isLater(before.status, status);
      const facts = { checkedAt: this.now(), ...(isNews ? { status } : {}) };
      await tx.update(DisputeEntity, { accountId, id }, facts);
      if (!isNews) return;
      // That it exists is told; a first status that decides nothing adds nothing to it.
      if (before.status === UNSEEN && isOpen(status)) return;
      const type = isOpen(status) ? 'dispute.updated' : 'dispute.closed';
      await this.tell(tx, type, { ...before, ...facts }, `${id}:${before.status}:${status}`);
    });
  }

  private tell(tx: Tx, type: WebhookEventType, dispute: Dispute, naturalKey: string): Promise<void> {
    const data = { ...toDisputeView(dispute) };
    return this.events.publish(tx, { accountId: dispute.accountId, type, data, naturalKey });
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
