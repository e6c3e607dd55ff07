/** What a charge bought, in the one line that stands on its ledger row. */
export type ChargeMemo = { readonly model: string; readonly images: number; readonly priceId: string };

/** `black-forest-labs/flux-2-klein-9b x2 @price_01…`: model, images and price version. */
export function formatChargeMemo(charge: ChargeMemo): string {
  return `${charge.model} x${charge.images} @${charge.priceId}`;
}

const MEMO_PATTERN = /^(\S+) x(\d{1,4}) @(price_\S+)$/;

/** Null for a memo that a person wrote. */
export function parseChargeMemo(memo: string | null): ChargeMemo | null {
  const match = memo === null ? null : MEMO_PATTERN.exec(memo);
  const [, model, images, priceId] = match ?? [];
  if (model === undefined || images === undefined || priceId === undefined) return null;
  return { model, images: Number(images), priceId };
}
