import { newId } from '../../platform/common/ids.js';
import type { MicroUsd } from '../../platform/common/money.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { PriceEntity } from './price.entity.js';
import { compareNewestFirst, findPriceInForce } from './price.js';

/** For programs that open the database without the service's modules. */
export const PRICE_ENTITIES = [PriceEntity];

/**
 * Stores `amountMicros` as the price of one image from `nowMs` on, as the next version. Writes nothing when that is the
 * price already. Of two concurrent calls, one violates `prices_model_version_key`.
 */
export async function putPrice(
  tx: Tx,
  { model, amountMicros, nowMs }: { model: string; amountMicros: MicroUsd; nowMs: number },
): Promise<void> {
  const prices = (await tx.findBy(PriceEntity, { model }))
    .map((row) => ({ ...row, effectiveFromMs: row.effectiveFrom.getTime() }))
    .sort(compareNewestFirst);
  if (findPriceInForce(prices, nowMs)?.amountMicros === amountMicros) return;
  const now = new Date(nowMs);
  await tx.insert(PriceEntity, {
    id: newId('price'),
    model,
    version: Math.max(0, ...prices.map(({ version }) => version)) + 1,
    unit: 'image',
    amountMicros,
    effectiveFrom: now,
    createdAt: now,
  });
}
