import { In, type EntityManager } from 'typeorm';
import { DisputeEntity } from '../disputes/dispute.entity.js';
import { DisputeMovementEntity } from '../disputes/dispute-movement.entity.js';
import { heldBy } from '../disputes/dispute-movement.rules.js';
import type { TopUp } from '../top-ups/top-up.js';
import { RefundEntity } from './refund.entity.js';
import { COUNTED_STATUSES } from './refund.machine.js';
import { addParts, type Parts } from '../../money/wallets/rules/payment-parts.js';
import { returnedBy } from './returned-parts.js';

/** What of a payment went back, is on its way back, or was taken by disputes and did not come back. */
export async function countReturned(manager: EntityManager, { accountId, id }: TopUp): Promise<Parts> {
  const counted = { accountId, topUpId: id, status: In([...COUNTED_STATUSES]) };
  const refunds = await manager.findBy(RefundEntity, counted);
  const movements = await manager
    .createQueryBuilder(DisputeMovementEntity, 'm')
    .innerJoin(DisputeEntity, 'd', 'd.account_id = m.account_id AND d.id = m.dispute_id')
    .where('d.account_id = :accountId AND d.top_up_id = :id', { accountId, id })
    .getMany();
  return addParts(returnedBy(refunds), heldBy(movements));
}

/** Whether a refund of the payment may still fail: Stripe has not said its last word of it. */
export function hasUndecidedRefund(manager: EntityManager, { accountId, id }: TopUp): Promise<boolean> {
  return manager.existsBy(RefundEntity, { accountId, topUpId: id, status: In(['created', 'pending']) });
}

/** Whoever counts and then writes is alone with the top-up until its tx ends. */
export async function lockTopUp(manager: EntityManager, { accountId, id }: TopUp): Promise<void> {
  await manager.query('SELECT 1 FROM top_ups WHERE account_id = $1 AND id = $2 FOR UPDATE', [accountId, id]);
}
