import { newId } from '../../platform/common/ids.js';
import type { MicroUsd } from '../../platform/common/money.js';
import type { Tx } from '../../platform/database/transaction-runner.js';
import { PriceEntity } from './price.entity.js';
import { compareNewestFirst, priceInForce } from './price.js';

/** For a program that opens the database without the service's modules. */
export const PRICE_ENTITIES = [PriceEntity];

/**
 * Makes `amountMicros` the price of one image from `nowMs` on, as the next version; nothing is written when it
 * is that already. Of two that do this at once, one meets `prices_model_version_key`.
 */
export async function putPrice(
  tx: Tx,
  { model, amountMicros, nowMs }: { model: string; amountMicros: MicroUsd; nowMs: number },
): Promise<void> {
  const prices = (await tx.findBy(PriceEntity, { model }))
    .map((row) => ({ ...row, effectiveFromMs: row.effectiveFrom.getTime() }))
    .sort(compareNewestFirst);
  if (priceInForce(prices, nowMs)?.amountMicros === amountMicros) return;
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
