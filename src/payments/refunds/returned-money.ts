import { In, type EntityManager } from 'typeorm';
import { DisputeEntity } from '../disputes/dispute.entity.js';
import { DisputeMovementEntity } from '../disputes/dispute-movement.entity.js';
import { heldBy } from '../disputes/dispute-movement.rules.js';
import type { TopUp } from '../top-ups/top-up.js';
import { addParts, type Parts } from '../../money/wallets/rules/payment-parts.js';
import { cents, microsToCentsExact, type MicroUsd, type UsdCents } from '../../platform/common/money.js';
import { RefundEntity } from './refund.entity.js';
import { COUNTED_STATUSES } from './refund.machine.js';

/** Counts what of a payment was refunded, is being refunded, or was taken by disputes and did not come back. */
export async function countReturned(manager: EntityManager, { accountId, id }: TopUp): Promise<Parts> {
  const counted = { accountId, topUpId: id, status: In([...COUNTED_STATUSES]) };
  const refunds = await manager.findBy(RefundEntity, counted);
  const movements = await manager
    .createQueryBuilder(DisputeMovementEntity, 'm')
    .innerJoin(DisputeEntity, 'd', 'd.account_id = m.account_id AND d.id = m.dispute_id')
    .where('d.account_id = :accountId AND d.top_up_id = :id', { accountId, id })
    .getMany();
  return addParts(sumRefunds(refunds), heldBy(movements));
}

/**
 * Returns the time of a decision that is being written. It is later than every other decision about the payment, whatever the clocks of the
 * processes say, because bookings follow this order. The caller holds the lock of the top-up's row.
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

/** Locks the top-up's row, so that a caller who counts and then writes is the only one until the tx ends. */
export async function lockTopUp(manager: EntityManager, { accountId, id }: TopUp): Promise<void> {
  await manager.query('SELECT 1 FROM top_ups WHERE account_id = $1 AND id = $2 FOR UPDATE', [accountId, id]);
}

type Returned = {
  readonly creditMicros: MicroUsd | null;
  readonly feeMicros: MicroUsd | null;
  readonly taxMicros: MicroUsd | null;
};

/** Returns the parts of the payment. A quote is in whole cents in both fee modes. */
export function paidFor({ creditMicros, feeMicros, taxMicros }: TopUp): Parts {
  return {
    creditCents: microsToCentsExact(creditMicros),
    feeCents: microsToCentsExact(feeMicros),
    taxCents: microsToCentsExact(taxMicros),
  };
}

/** The sum of refunds that count against a payment. */
export function sumRefunds(returned: readonly Returned[]): Parts {
  const sum = (amountFrom: (each: Returned) => MicroUsd | null): UsdCents =>
    cents(returned.reduce((total, each) => total + toCents(amountFrom(each)), 0n));
  return {
    creditCents: sum(({ creditMicros }) => creditMicros),
    feeCents: sum(({ feeMicros }) => feeMicros),
    taxCents: sum(({ taxMicros }) => taxMicros),
  };
}

function toCents(amount: MicroUsd | null): bigint {
  return amount === null ? 0n : microsToCentsExact(amount);
}
