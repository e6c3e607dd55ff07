import { Inject, Injectable } from '@nestjs/common';
import { InjectRepository } from '@nestjs/typeorm';
import { Repository } from 'typeorm';
import { CLOCK, type Clock } from '../../common/clock.js';
import { newId } from '../../common/ids.js';
import { centsToMicros, type MicroUsd, type UsdCents } from '../../common/money.js';
import { TransactionRunner } from '../../database/transaction-runner.js';
import type { ProviderDispute } from '../../payments/payment-gateway.js';
import { partsOfAmount } from '../refunds/refund-parts.js';
import { countReturned, lockTopUp } from '../refunds/counted-returns.js';
import { paidFor } from '../refunds/returned-parts.js';
import type { TopUp } from '../top-up.js';
import { UNSEEN } from './dispute.machine.js';
import { DisputeEntity, type Dispute } from './dispute.entity.js';

export type DisputeFacts = Partial<
  Pick<Dispute, 'status' | 'frozenAt' | 'withdrawnAt' | 'reinstatedAt' | 'writtenOffMicros'>
>;

/** The rows of `disputes`. */
@Injectable()
export class DisputeRepository {
  constructor(
    @InjectRepository(DisputeEntity) private readonly rows: Repository<DisputeEntity>,
    private readonly transactions: TransactionRunner,
    @Inject(CLOCK) private readonly clock: Clock,
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
    await this.rows.createQueryBuilder().insert().values(row).orIgnore().execute();
    return this.rows.findOneByOrFail({ accountId, id: told.id });
  }

  find(accountId: string, id: string): Promise<Dispute | null> {
    return this.rows.findOneBy({ accountId, id });
  }

  /** Newest first. */
  ofAccount(accountId: string): Promise<readonly Dispute[]> {
    return this.rows.find({ where: { accountId }, order: { createdAt: 'DESC', id: 'DESC' } });
  }

  /**
   * Fixes what of the payment the dispute takes, next to everything else that went back. Null when that is more
   * than was paid: then something of it is still about to come back, a refund that fails for the dispute's sake.
   */
  async fixParts(
    topUp: TopUp,
    dispute: Dispute,
  ): Promise<{ readonly creditMicros: MicroUsd; readonly feeMicros: MicroUsd } | null> {
    const { accountId, id } = dispute;
    return this.transactions.run(async (tx) => {
      await lockTopUp(tx, topUp);
      // Another event of the same dispute may have come first, a moment ago.
      const { creditMicros, feeMicros } = await tx.findOneByOrFail(DisputeEntity, { accountId, id });
      if (creditMicros !== null && feeMicros !== null) return { creditMicros, feeMicros };
      const parts = partsOfAmount(dispute.amountCents, paidFor(topUp), await countReturned(tx, topUp));
      if (parts === null) return null;
      const fixed = {
        creditMicros: centsToMicros(parts.creditCents),
        feeMicros: centsToMicros(parts.feeCents),
      };
      await tx.update(DisputeEntity, { accountId, id }, fixed);
      return fixed;
    });
  }

  /** What was learned. */
  async note({ accountId, id }: Dispute, facts: DisputeFacts): Promise<void> {
    await this.rows.update({ accountId, id }, { ...facts, checkedAt: new Date(this.clock.nowMs()) });
  }
}
