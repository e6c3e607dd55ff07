import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { In, IsNull, Repository } from 'typeorm';
import type { Clock } from '../../platform/common/clock.js';
import { newId } from '../../platform/common/ids.js';
import { cents, centsToMicros, negate, type MicroUsd, type UsdCents } from '../../platform/common/money.js';
import { LEDGER_CLOCK } from '../../platform/database/ledger-clock.js';
import { TransactionRunner, type Tx } from '../../platform/database/transaction-runner.js';
import type { ProviderDisputeMovement } from '../stripe/payment-gateway.js';
import { countReturned, lockTopUp, nextDecisionAt, paidFor } from '../refunds/returned-money.js';
import { computeCharge, type PartsAndExcess } from '../../money/wallets/rules/payment-parts.js';
import { RefundEntity } from '../refunds/refund.entity.js';
import type { Refund } from '../refunds/refund.js';
import type { TopUp } from '../top-ups/top-up.js';
import { DisputeEntity, type Dispute } from './dispute.entity.js';
import { DisputeMovementEntity, type DisputeMovement } from './dispute-movement.entity.js';
import {
  coveredReference,
  heldBy,
  isTaking,
  partsOfAllCovered,
  partsOfMoved,
  referenceFor,
} from './dispute-movement.rules.js';

/** What is decided of a payment and is not in the ledger yet. */
type Unbooked = { readonly decidedMs: number } & (
  | { readonly type: 'dispute_movement'; readonly dispute: Dispute; readonly movement: DisputeMovement }
  | { readonly type: 'failed_refund'; readonly refund: Refund }
);
export type DecisionCount = { readonly all: number; readonly open: number };
type DisputeHistory = { readonly dispute: Dispute; readonly known: readonly DisputeMovement[] };

/** The rows of `dispute_movements`. What each takes or gives back is decided once, under the lock of the top-up's row. */
@Injectable()
export class DisputeMovementRepository {
  constructor(
    @InjectRepository(DisputeMovementEntity) private readonly rows: Repository<DisputeMovementEntity>,
    private readonly transactions: TransactionRunner,
    @Inject(LEDGER_CLOCK) private readonly clock: Clock,
  ) {}

  /** The movements of one dispute, in the order in which they are booked. */
  findByDispute(
    { accountId, id }: Pick<Dispute, 'accountId' | 'id'>,
    manager = this.rows.manager,
  ): Promise<readonly DisputeMovement[]> {
    const where = { accountId, disputeId: id };
    return manager.find(DisputeMovementEntity, { where, order: { number: 'ASC' } });
  }

  /** The movements of all disputes of the account, each dispute's in its order. */
  findByAccount(accountId: string): Promise<readonly DisputeMovement[]> {
    return this.rows.find({ where: { accountId }, order: { number: 'ASC' } });
  }

  /**
   * Decides what of the payment each reported movement takes or gives back, given everything else that has left the payment.
   * What Stripe has taken is always decided at once, also beyond the payment while a refund of it may still fail: its failure covers
   * that part. A movement that is stored stays as it was decided.
   */
  async record(topUp: TopUp, dispute: Dispute, reported: readonly ProviderDisputeMovement[]): Promise<void> {
    await this.transactions.run(async (tx) => {
      await lockTopUp(tx, topUp);
      // What came back is covered before anything else of the payment is decided. Otherwise another dispute that is won at the
      // same time would give back its excess only, and none of what it covers.
      await this.decideCovers(tx, topUp);
      for (const movement of reported) {
        // Another event of the same dispute may have been handled a moment ago.
        const known = await this.findByDispute(dispute, tx);
        if (known.some(({ balanceTransactionId }) => balanceTransactionId === movement.id)) continue;
        const { amountCents } = movement;
        // The doctor names what moves a balance in another currency.
        if (amountCents === null || (await this.recognize(tx, known, movement))) continue;
        const gone = { paid: paidFor(topUp), returned: await countReturned(tx, topUp) };
        const parts = partsOfMoved(movement.direction, amountCents, heldBy(known), gone);
        const isTaken = movement.direction === 'taken';
        const isFirst = !known.some((each) => isTaking(each) === isTaken);
        await this.insert(tx, topUp, dispute, known, parts, {
          amountCents: cents(isTaken ? 0n - amountCents : amountCents),
          balanceTransactionId: movement.id,
          reference: referenceFor(dispute.id, movement, known),
          lotId: isTaken ? null : isFirst ? dispute.reinstatementLotId : newId('creditLot'),
        });
        if (isTaken && isFirst) await this.copyFirst(tx, dispute, parts);
        if (!isTaken) await this.decideCovers(tx, topUp);
      }
    });
  }

  /**
   * Decides which excess of the payment's disputes is covered now, because some of the payment came back since: that part belongs to
   * the payment again and is no loss.
   */
  async cover(topUp: TopUp): Promise<void> {
    await this.transactions.run(async (tx) => {
      await lockTopUp(tx, topUp);
      await this.decideCovers(tx, topUp);
    });
  }

  /** Does what `cover` does. The caller holds the lock of the top-up's row. */
  async decideCovers(tx: Tx, topUp: TopUp): Promise<void> {
    const histories = await this.findHistories(tx, topUp);
    const held = histories.map(({ known }) => heldBy(known));
    const covered = partsOfAllCovered(held, paidFor(topUp), await countReturned(tx, topUp));
    for (const [index, parts] of covered.entries()) {
      const history = histories[index];
      if (history === undefined || parts === null) continue;
      const { dispute, known } = history;
      const reference = coveredReference(dispute.id, known.length + 1);
      const movement = { amountCents: cents(0n), balanceTransactionId: null, reference, lotId: null };
      await this.insert(tx, topUp, dispute, known, parts, movement);
    }
  }

  /** Finds the payment's disputes with their movements, the oldest first. */
  private async findHistories(tx: Tx, { accountId, id: topUpId }: TopUp): Promise<readonly DisputeHistory[]> {
    const order = { createdAt: 'ASC', id: 'ASC' } as const;
    const histories: DisputeHistory[] = [];
    for (const dispute of await tx.find(DisputeEntity, { where: { accountId, topUpId }, order })) {
      histories.push({ dispute, known: await this.findByDispute(dispute, tx) });
    }
    return histories;
  }

  /**
   * Finds what the ledger does not have yet of the payment's disputes and failed refunds, in the order of the decisions. The lock
   * waits for a decision that is being written. Without it, the rows could lack a decision that later ones followed.
   */
  async findUnbooked(topUp: TopUp): Promise<readonly Unbooked[]> {
    const { accountId, id: topUpId } = topUp;
    return this.transactions.run(async (tx) => {
      await lockTopUp(tx, topUp);
      const disputes = await tx.find(DisputeEntity, { where: { accountId, topUpId } });
      const movements = await tx.find(DisputeMovementEntity, {
        where: { accountId, disputeId: In(disputes.map(({ id }) => id)), bookedAt: IsNull() },
        order: { disputeId: 'ASC', number: 'ASC' },
      });
      const failing = await tx.find(RefundEntity, { where: { accountId, topUpId, status: 'failing' } });
      const refunds = failing.map((refund): Unbooked => ({
        type: 'failed_refund',
        refund,
        decidedMs: refund.failureDecidedAt?.getTime() ?? 0,
      }));
      return [...disputes.flatMap((dispute) => inOrder(dispute, movements)), ...refunds].sort(
        (a, b) => a.decidedMs - b.decidedMs,
      );
    });
  }

  /** Finds payments of which a movement or a refund's failure was decided before this time and is not booked, the oldest first. */
  async findTopUpsToBook(
    before: Date,
    limit: number,
  ): Promise<readonly { readonly accountId: string; readonly topUpId: string }[]> {
    const rows = await this.rows.query<{ account_id: string; top_up_id: string }[]>(
      `SELECT account_id, top_up_id
         FROM (SELECT d.account_id, d.top_up_id, m.created_at AS decided_at
                 FROM dispute_movements m JOIN disputes d ON d.account_id = m.account_id AND d.id = m.dispute_id
                WHERE m.booked_at IS NULL
               UNION ALL
               SELECT account_id, top_up_id, failure_decided_at FROM refunds WHERE status = 'failing') unbooked
        WHERE decided_at < $1
        GROUP BY account_id, top_up_id ORDER BY min(decided_at) LIMIT $2`,
      [before, limit],
    );
    return rows.map((row) => ({ accountId: row.account_id, topUpId: row.top_up_id }));
  }

  /**
   * Counts what is decided of all payments of the account: movements of disputes and failures of refunds. Between two equal counts
   * nothing was decided, and what is not open was booked.
   */
  async countDecisions(accountId: string, manager = this.rows.manager): Promise<DecisionCount> {
    const [row] = await manager.query<{ all: string; open: string }[]>(
      `SELECT count(*) AS all, count(*) FILTER (WHERE is_open) AS open
         FROM (SELECT booked_at IS NULL AS is_open FROM dispute_movements WHERE account_id = $1
               UNION ALL
               SELECT status = 'failing' FROM refunds WHERE account_id = $1 AND failure_decided_at IS NOT NULL) decided`,
      [accountId],
    );
    return { all: Number(row?.all), open: Number(row?.open) };
  }

  /** A row that an earlier release decided learns which of Stripe's balance transactions it is. */
  private async recognize(
    tx: Tx,
    known: readonly DisputeMovement[],
    { id, direction }: ProviderDisputeMovement,
  ): Promise<boolean> {
    const row = known.find(
      ({ balanceTransactionId, amountCents }) =>
        balanceTransactionId === null && (direction === 'taken' ? amountCents < 0n : amountCents > 0n),
    );
    if (row === undefined) return false;
    const { accountId, disputeId, number } = row;
    await tx.update(DisputeMovementEntity, { accountId, disputeId, number }, { balanceTransactionId: id });
    return true;
  }

  private async insert(
    tx: Tx,
    topUp: TopUp,
    { accountId, id: disputeId }: Dispute,
    known: readonly DisputeMovement[],
    parts: PartsAndExcess,
    movement: Pick<DisputeMovement, 'amountCents' | 'balanceTransactionId' | 'reference' | 'lotId'>,
  ): Promise<void> {
    if (computeCharge(parts) + parts.excessCents !== movement.amountCents)
      throw new Error(`the parts of ${movement.reference} do not add up`);
    await tx.insert(DisputeMovementEntity, {
      ...{ ...movement, ...toMicros(parts), accountId, disputeId },
      number: known.length + 1,
      createdAt: await nextDecisionAt(tx, topUp, this.clock.nowMs()),
      bookedAt: null,
    });
  }

  /** The dispute's own row says what the first withdrawal took. */
  private async copyFirst(tx: Tx, { accountId, id }: Dispute, parts: PartsAndExcess): Promise<void> {
    const { creditMicros, feeMicros, taxMicros, excessMicros } = toMicros(parts);
    await tx.update(
      DisputeEntity,
      { accountId, id },
      {
        creditMicros: negate(creditMicros),
        feeMicros: negate(feeMicros),
        taxMicros: negate(taxMicros),
        excessMicros: negate(excessMicros),
      },
    );
  }
}

/** The movements of one dispute keep their order, whatever the clocks of the processes that decided them say. */
function inOrder(dispute: Dispute, movements: readonly DisputeMovement[]): readonly Unbooked[] {
  let decidedMs = 0;
  return movements
    .filter(({ disputeId }) => disputeId === dispute.id)
    .map((movement) => {
      decidedMs = Math.max(decidedMs, movement.createdAt.getTime());
      return { type: 'dispute_movement', dispute, movement, decidedMs };
    });
}

function toMicros({ creditCents, feeCents, taxCents, excessCents }: PartsAndExcess) {
  const of = (amount: UsdCents): MicroUsd => centsToMicros(amount);
  return {
    creditMicros: of(creditCents),
    feeMicros: of(feeCents),
    taxMicros: of(taxCents),
    excessMicros: of(excessCents),
  };
}
