import { divExact, micros, type MicroUsd } from '../common/money.js';

/** What a charge bought, in the one line that stands on its ledger row. */
export type ChargeMemo = { readonly model: string; readonly images: number; readonly priceId: string };

const MEMO_PATTERN = /^(\S+) x(\d{1,4}) @(price_\S+)$/;

/** `black-forest-labs/flux-2-klein-9b x2 @price_01…`: model, images and price version, for people and for us. */
export function formatChargeMemo(charge: ChargeMemo): string {
  return `${charge.model} x${charge.images} @${charge.priceId}`;
}

export function parseChargeMemo(memo: string | null): ChargeMemo | null {
  const match = memo === null ? null : MEMO_PATTERN.exec(memo);
  const [, model, images, priceId] = match ?? [];
  if (model === undefined || images === undefined || priceId === undefined) return null;
  return { model, images: Number(images), priceId };
}

/**
 * What `images` of a hold's images cost, at the price the hold was made with. Exact: the hold is a whole
 * number of images at one price.
 */
export function partOfHold(holdMicros: MicroUsd, charge: ChargeMemo, images: number): MicroUsd {
  return micros(divExact(holdMicros, BigInt(charge.images)) * BigInt(images));
}
