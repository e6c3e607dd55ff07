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

/**
 * When what is decided now is decided: later than all else that was decided of the payment, whatever the clocks of the processes say,
 * because bookings follow this order. Only under the lock of the top-up's row.
 */
export async function nextDecisionAt(
  manager: EntityManager,
  { accountId, id }: TopUp,
  nowMs: number,
): Promise<Date> {
  const [last] = await manager.query<{ ms: string | null }[]>(
    `SELECT ceil(extract(epoch FROM greatest(
              (SELECT max(m.created_at) FROM disputes d
                 JOIN dispute_movements m ON m.account_id = d.account_id AND m.dispute_id = d.id
                WHERE d.account_id = $1 AND d.top_up_id = $2),
              (SELECT max(failure_decided_at) FROM refunds WHERE account_id = $1 AND top_up_id = $2))) * 1000)::bigint AS ms`,
    [accountId, id],
  );
  return new Date(Math.max(nowMs, Number(last?.ms ?? 0) + 1));
}

/** Whoever counts and then writes is alone with the top-up until its tx ends. */
export async function lockTopUp(manager: EntityManager, { accountId, id }: TopUp): Promise<void> {
  await manager.query('SELECT 1 FROM top_ups WHERE account_id = $1 AND id = $2 FOR UPDATE', [accountId, id]);
}
