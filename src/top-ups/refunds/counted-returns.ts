import { In, IsNull, Not, type EntityManager } from 'typeorm';
import { DisputeEntity } from '../disputes/dispute.entity.js';
import type { TopUp } from '../top-up.js';
import { RefundEntity } from './refund.entity.js';
import { COUNTED_STATUSES } from './refund.machine.js';
import type { Parts } from './refund-parts.js';
import { returnedBy } from './returned-parts.js';

/** What of a payment went back, is on its way back, or was taken by a dispute that is not won. */
export async function countReturned(manager: EntityManager, { accountId, id }: TopUp): Promise<Parts> {
  const counted = { accountId, topUpId: id };
  const refunds = await manager.findBy(RefundEntity, { ...counted, status: In([...COUNTED_STATUSES]) });
  const disputes = await manager.findBy(DisputeEntity, {
    ...counted,
    creditMicros: Not(IsNull()),
    reinstatedAt: IsNull(),
  });
  return returnedBy([...refunds, ...disputes]);
}

/** Whether a refund of the payment may still fail: Stripe has not said its last word of it. */
export function hasUndecidedRefund(manager: EntityManager, { accountId, id }: TopUp): Promise<boolean> {
  return manager.existsBy(RefundEntity, { accountId, topUpId: id, status: In(['created', 'pending']) });
}

/** Whoever counts and then writes is alone with the top-up until its tx ends. */
export async function lockTopUp(manager: EntityManager, { accountId, id }: TopUp): Promise<void> {
  await manager.query('SELECT 1 FROM top_ups WHERE account_id = $1 AND id = $2 FOR UPDATE', [accountId, id]);
}
