import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { IsNull, Not, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { isId, isStripeId, newId } from '../../platform/common/ids.js';
import { micros, type MicroUsd, type UsdCents } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import { WebhookEventsService } from '../../notifications/webhooks/webhook-events.service.js';
import type { WebhookEventType } from '../../notifications/event-types.js';
import type { ProviderDispute } from '../stripe/payment-gateway.js';
import type { TopUp } from '../top-ups/top-up.js';
import { toDisputeView } from './dispute.dto.js';
import { isLater, isOpen, UNSEEN } from './dispute.machine.js';
import { DisputeEntity, type Dispute } from './dispute.entity.js';
import { DisputeMovementEntity, type DisputeMovement } from './dispute-movement.entity.js';
import { isFirstOfItsKind } from './dispute-movement.rules.js';

type WrittenOffRow = { readonly id: string; readonly micros: string };

export type DisputeFacts = Partial<Pick<Dispute, 'frozenAt'>>;

/** The column that says when the money moved, and the event that is published. */
const MONEY_EVENTS = {
  withdrawnAt: 'dispute.funds_withdrawn',
  reinstatedAt: 'dispute.funds_reinstated',
} as const satisfies Record<string, WebhookEventType>;

/** Finds all references that begin with `$2:`; a semicolon comes next after a colon. */
const WRITTEN_OFF = `
  SELECT split_part(reference, ':', 2) AS id, sum(amount_micros) AS micros FROM transfers
   WHERE account_id = $1 AND reference >= $2 || ':' AND reference < $2 || ';' AND kind = 'write_off'
   GROUP BY 1`;

/** The rows of `disputes`. Events are published in the tx that writes the row. */
@Injectable()
export class DisputeRepository {
  constructor(
    @InjectRepository(DisputeEntity) private readonly rows: Repository<DisputeEntity>,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
    private readonly events: WebhookEventsService,
  ) {}

  /** Returns the row of Stripe's dispute, and inserts it when there is none. */
  async ensure(topUp: TopUp, reported: ProviderDispute, amountCents: UsdCents): Promise<Dispute> {
    const { accountId } = topUp;
    const now = new Date(this.clock.nowMs());
    const row = {
      accountId,
      id: reported.id,
      topUpId: topUp.id,
      status: UNSEEN,
      reason: reported.reason,
      amountCents,
      reinstatementLotId: newId('creditLot'),
      createdAt: now,
      checkedAt: now,
    };
    await this.transactions.run(async (tx) => {
      const insert = tx.createQueryBuilder().insert().into(DisputeEntity).values(row).orIgnore();
      const result = await insert.returning('id').execute();
      if ((result.raw as readonly unknown[]).length === 0) return;
      const made = await tx.findOneByOrFail(DisputeEntity, { accountId, id: reported.id });
      await this.publish(tx, 'dispute.created', { ...made, status: reported.status }, reported.id);
    });
    return this.rows.findOneByOrFail({ accountId, id: reported.id });
  }

  async find(accountId: string, id: string): Promise<Dispute | null> {
    const isPossible = isStripeId(id) && isId('account', accountId);
    return isPossible ? this.rows.findOneBy({ accountId, id }) : null;
  }

  /** Finds the account's disputes, newest first. */
  findByAccount(accountId: string): Promise<readonly Dispute[]> {
    return this.rows.find({ where: { accountId }, order: { createdAt: 'DESC', id: 'DESC' } });
  }

  /** Stores facts that do not change the status. */
  async note({ accountId, id }: Dispute, facts: DisputeFacts = {}): Promise<void> {
    await this.rows.update({ accountId, id }, { ...facts, checkedAt: this.now() });
  }

  /** Sums what was ever written off for the account's disputes, or for one of them, by dispute. Only the ledger records it. */
  async writtenOffIn(
    accountId: string,
    id?: string,
    manager = this.rows.manager,
  ): Promise<ReadonlyMap<string, MicroUsd>> {
    const beginning = id === undefined ? 'dispute' : `dispute:${id}`;
    const rows = await manager.query<WrittenOffRow[]>(WRITTEN_OFF, [accountId, beginning]);
    return new Map(rows.map((row) => [row.id, micros(BigInt(row.micros))]));
  }

  /** Stores that the ledger has the movement, and publishes once that the money left the wallet or came back. */
  noteBooked({ accountId, id, frozenAt }: Dispute, movement: DisputeMovement): Promise<void> {
    return this.transactions.run(async (tx) => {
      const now = this.now();
      const { number, amountCents, balanceTransactionId } = movement;
      const { affected } = await tx.update(
        DisputeMovementEntity,
        { accountId, disputeId: id, number, bookedAt: IsNull() },
        { bookedAt: now },
      );
      // A cover moves no money at Stripe. The account sees it in its transactions.
      if (affected !== 1 || amountCents === 0n) return;
      const what = amountCents < 0n ? 'withdrawnAt' : 'reinstatedAt';
      // Money that is given before any was taken is booked, but it is no reinstatement: the row would contradict itself.
      const isPossible = what === 'reinstatedAt' ? { withdrawnAt: Not(IsNull()) } : {};
      await tx.update(DisputeEntity, { accountId, id, [what]: IsNull(), ...isPossible }, { [what]: now });
      // A clawback freezes the wallet, whether or not anything else had.
      const facts = { checkedAt: now, ...(amountCents < 0n && frozenAt === null ? { frozenAt: now } : {}) };
      await tx.update(DisputeEntity, { accountId, id }, facts);
      const dispute = await tx.findOneByOrFail(DisputeEntity, { accountId, id });
      const naturalKey = isFirstOfItsKind(movement) ? id : `${id}:${balanceTransactionId}`;
      await this.publish(tx, MONEY_EVENTS[what], dispute, naturalKey);
    });
  }

  /** Stores Stripe's status, unless the row has a later one, and returns the row's. Each step from one status to the next is published once. */
  noteStatus({ accountId, id }: Dispute, status: string): Promise<string> {
    return this.transactions.run(async (tx) => {
      const lock = { mode: 'for_no_key_update' } as const;
      const before = await tx.findOneOrFail(DisputeEntity, { where: { accountId, id }, lock });
      // A lost appeal is lost again, so a status may come again, but only after another one.
      const isNewEvent = before.status !== status && isLater(before.status, status);
      const facts = { checkedAt: this.now(), ...(isNewEvent ? { status } : {}) };
      await tx.update(DisputeEntity, { accountId, id }, facts);
      if (!isNewEvent) return before.status;
      // `dispute.created` is published already, and a first status that decides nothing adds nothing to it.
      if (before.status === UNSEEN && isOpen(status)) return status;
      const type = isOpen(status) ? 'dispute.updated' : 'dispute.closed';
      await this.publish(tx, type, { ...before, ...facts }, `${id}:${before.status}:${status}`);
      return status;
    });
  }

  private async publish(tx: Tx, type: WebhookEventType, dispute: Dispute, naturalKey: string): Promise<void> {
    const { accountId, id: disputeId } = dispute;
    const order = { number: 'ASC' } as const;
    const movements = await tx.find(DisputeMovementEntity, { where: { accountId, disputeId }, order });
    const writtenOff = await this.writtenOffIn(accountId, disputeId, tx);
    const view = toDisputeView({
      dispute,
      movements,
      writtenOffMicros: writtenOff.get(disputeId) ?? null,
    });
    const data = { ...view, movements: view.movements.map((each) => ({ ...each })) };
    await this.events.publish(tx, { accountId, type, data, naturalKey });
  }

  private now(): Date {
    return new Date(this.clock.nowMs());
  }
}
