/** What a charge bought, in the one line that stands on its ledger row. */
export type ChargeMemo = { readonly model: string; readonly images: number; readonly priceId: string };

/** `black-forest-labs/flux-2-klein-9b x2 @price_01…`: model, images and price version. */
export function formatChargeMemo(charge: ChargeMemo): string {
  return `${charge.model} x${charge.images} @${charge.priceId}`;
}
